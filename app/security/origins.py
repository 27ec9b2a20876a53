"""Checks the Origin header: which web pages may use this server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from protocol.errors import Fault, TwowireError

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/?#@,\\]*")
"""An origin as browsers serialize it (RFC 6454, section 6.2). An empty host is what some send for a local file."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class OriginCheck:
    """Refuses requests that a browser sends for a web page of another origin, unless that origin is `allowed`.

    CORS stops a page from reading a response, not from sending a request: it can open a WebSocket, and POST whatever
    needs no preflight. Over HTTP that only matters on a server without keys, since a page knows no key. This is no
    protection from programs, which can send any Origin or none.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.lower() for name in allowed]
        self._allows_all = "*" in names
        self._allowed = frozenset(map(_plain_origin, names))

    def check(self, origins: Sequence[str], host: str, *, is_tls: bool) -> None:
        """Raise `TwowireError` (403) unless `origins`, all the request's Origin headers, is empty or allowed.

        `host` is the Host header, from which the server's own origin follows. A server that sees no TLS may be behind
        a proxy that terminates it, so `https` with its own host is its own origin too.
        """
        origin = self.check_form(origins)
        if origin is None or self._allows_all or origin in self._allowed:
            return
        scheme, _, name = origin.partition("://")
        own = host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, " "))
        if name and name == own and scheme in (("https",) if is_tls else ("http", "https")):
            return
        shown = origins[0][:100]
        raise TwowireError(
            Fault.FORBIDDEN_ORIGIN,
            f"Web pages of the origin {shown!r} may not use this server; --cors-origins names those that may.",
        )

    def check_form(self, origins: Sequence[str]) -> str | None:
        """The request's origin without a default port, or None. Raises `TwowireError` (403) if malformed."""
        if not origins:
            return None
        origin = origins[0].lower()
        if len(origins) > 1 or not _ORIGIN.fullmatch(origin):
            raise TwowireError(
                Fault.FORBIDDEN_ORIGIN,
                "The Origin header must be one origin, scheme://host with an optional port, or null.",
            )
        return _plain_origin(origin)

    def check_site(self, method: str, site: str | None) -> None:
        """Raise `TwowireError` (403) if Sec-Fetch-Site says that a page of another origin wants more than to read.

        Called for requests without an Origin header (https://w3c.github.io/webappsec-fetch-metadata/).
        """
        if method not in _SAFE_METHODS and not self._allows_all and site in ("cross-site", "same-site"):
            raise TwowireError(
                Fault.FORBIDDEN_ORIGIN,
                "Web pages of other origins may not use this server, unless --cors-origins names their Origin header.",
            )


def _plain_origin(origin: str) -> str:
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], " "))
