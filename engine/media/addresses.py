"""Which addresses may be connected to: public ones, and those of networks that the operator names."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""RFC 3587: all public addresses are in it. Python takes site-local ones for public, too."""


class AllowedAddresses:
    """Public addresses, and some private networks."""

    def __init__(self, private_networks: Iterable[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(map(ipaddress.ip_network, private_networks))

    def allow(self, text: str) -> bool:
        """Whether a numeric address may be connected to. False for anything that is not one."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if any(address in network for network in self._networks):
            return True
        return all(map(_is_public, _meant(address)))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _meant(address: Address) -> Iterable[Address]:
    """The addresses that packets to `address` may reach: for IPv6 forms of IPv4, the IPv4 address within."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    within: list[Address] = [address]
    if address.sixtofour is not None:
        within.append(address.sixtofour)
    if address.teredo is not None:
        within += address.teredo
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return within
