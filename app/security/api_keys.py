"""Checks who may send requests: API keys, and the Host and Origin headers.

Does not know routes beyond the list of public ones: whatever is not on it needs a key, so that a new route is
protected without anybody remembering to protect it.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence

from app.config.values import is_loopback
from protocol.errors import Fault, TwowireError

_HOST = re.compile(r"^(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?$")


class KeyRing:
    """The keys that may enter. Holds digests alone, so that no log, dump or repr can show a key."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: Sequence[str]) -> str | None:
        """Who asks: a label of the key in `authorization`, the request's headers of that name; None without keys.

        Raises `TwowireError` (401) unless there is exactly one, with a right key.

        Every digest is compared, in constant time, so that the time tells neither which key nor how much of it fits.
        """
        if not self._digests:
            return None
        if len(authorization) != 1:
            given = "No API key was given" if not authorization else "More than one Authorization header was given"
            raise _refused(f"{given}: send one header «Authorization: Bearer KEY».")
        scheme, _, key = authorization[0].partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise _refused("The Authorization header must be «Bearer KEY».")
        # The server decodes header bytes as latin-1; this gives back the bytes that were sent.
        given_digest = _digest(key.strip().encode("latin-1", errors="replace"))
        matches = [hmac.compare_digest(given_digest, digest) for digest in self._digests]
        if not any(matches):
            raise _refused("The API key is not known here.")
        return given_digest.hex()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=256)
def _is_reachable(address: str) -> bool:
    """Whether other machines can reach `address`; a name or a socket's path is no address, and is not judged."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _refused(message: str) -> TwowireError:
    return TwowireError(Fault.INVALID_API_KEY, message)


class HostCheck:
    """Refuses a Host header that is malformed and, where no key guards the server, one that names another host.

    The second is for DNS rebinding: a web page can make a browser send requests to a loopback address under the
    page's own host name, past the same-origin policy. Without keys nothing else would stop it.
    """

    def __init__(self, *, only_loopback: bool, allowed: Iterable[str] = (), is_open: bool = True) -> None:
        self._only_loopback = only_loopback
        self._is_open = is_open
        self._allowed = frozenset(name.lower() for name in allowed)

    def check(self, hosts: Sequence[str], address: Sequence[object] | None = None, *, is_probe: bool = False) -> None:
        """Raise `TwowireError` unless `hosts`, the request's headers of that name, is one acceptable host.

        `is_probe`: it asks only how the server is, as load balancers do. They may leave the header out, as HTTP/1.0
        allows, or name this machine by any address. A rebound page can do neither: its browser sends the page's name.

        `address` is the server's own end of the connection. Where the server is not `is_open` (no keys, and not told
        to do without), that must be a loopback address, whoever bound it: another server may run the app.
        """
        if not self._is_open and address is not None and _is_reachable(str(address[0])):
            raise TwowireError(
                Fault.FORBIDDEN_HOST,
                "This server has no API keys and answers only on loopback addresses; set TWOWIRE_API_KEYS.",
            )
        if is_probe and not any(hosts):
            return
        match = _HOST.match(hosts[0]) if len(hosts) == 1 else None
        if match is None or int(match["port"] or 0) > 65535:
            raise TwowireError(Fault.INVALID_HOST, "The Host header must be one host name with an optional port.")
        name = match["name"].strip("[]").lower()
        if is_probe and _is_address(name):
            return
        if self._only_loopback and not is_loopback(name) and name not in self._allowed:
            raise TwowireError(
                Fault.FORBIDDEN_HOST,
                f"This server has no API keys and answers only to loopback names, not to {name[:60]!r};"
                " see --allowed-hosts.",
            )


_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/?#@,\\]*")
"""An origin as browsers serialize it (RFC 6454, section 6.2). An empty host is what some send for a local file."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class OriginCheck:
    """Refuses requests that a browser sends for a web page of another origin, unless that origin is `allowed`.

    CORS keeps a page from reading an answer, not from asking: it can open a WebSocket, and POST what needs no
    preflight. On HTTP that matters only for a server without keys, since a page knows no key. This does not protect
    from programs, which can send any Origin or none.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [name.lower() for name in allowed]
        self._allows_all = "*" in names
        self._allowed = frozenset(map(_plain_origin, names))

    def check(self, origins: Sequence[str], host: str, *, is_tls: bool) -> None:
        """Raise `TwowireError` (403) unless `origins`, the request's Origin headers, is empty or allowed.

        `host` is the Host header, which tells the server's own origin. A server that sees no TLS may have a proxy in
        front that ends it, so `https` with its own host is its own origin, too.
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
        """Raise `TwowireError` (403) where a browser says by Sec-Fetch-Site, and not by Origin, that a page of another
        origin asks for more than to read (https://w3c.github.io/webappsec-fetch-metadata/)."""
        if method not in _SAFE_METHODS and not self._allows_all and site in ("cross-site", "same-site"):
            raise TwowireError(
                Fault.FORBIDDEN_ORIGIN,
                "Web pages of other origins may not use this server, unless --cors-origins names their Origin header.",
            )


def _plain_origin(origin: str) -> str:
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], " "))
