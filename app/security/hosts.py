"""Checks the Host header, and which addresses a server without keys answers on."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence

from protocol.errors import Fault, TwowireError

_HOST = re.compile(r"^(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?$")


class HostCheck:
    """Refuses a malformed Host header and, on a server without keys, one that names another host.

    The latter prevents DNS rebinding: a web page can make a browser send requests to a loopback address under the
    page's own host name, past the same-origin policy. Without keys nothing else would stop it.
    """

    def __init__(self, *, only_loopback: bool, allowed: Iterable[str] = (), is_open: bool = True) -> None:
        self._only_loopback = only_loopback
        self._is_open = is_open
        self._allowed = frozenset(name.lower() for name in allowed)

    def check(self, hosts: Sequence[str], address: Sequence[object] | None = None, *, is_probe: bool = False) -> None:
        """Raise `TwowireError` unless `hosts`, all the request's headers of that name, is one acceptable host.

        `is_probe`: it only asks for the server's health, as load balancers do. They may omit the header, as HTTP/1.0
        allows, or name this machine by any address. A rebound page can do neither: its browser sends the page's name.

        `address` is the server's end of the connection. If the server is not `is_open` (it has no keys and was not
        told to do without), that must be a loopback address, whoever bound it: another server may run the app.
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


@functools.lru_cache(maxsize=256)  # Called for the Host header of each request.
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: 127.0.0.0/8, ::1, or localhost."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@functools.lru_cache(maxsize=256)
def _is_reachable(address: str) -> bool:
    """Whether other machines can reach `address`. A name or a socket's path counts as unreachable."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
