"""Which addresses may be connected to."""

from __future__ import annotations

import pytest

from engine.media.addresses import AllowedAddresses

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "example.com",
    "2130706433",
    "0x7f.1",
    "127.1",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    assert not AllowedAddresses().allow(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_a_public_address_is(address: str) -> None:
    assert AllowedAddresses().allow(address)


def test_a_network_that_the_operator_names_is_connected_to() -> None:
    allowed = AllowedAddresses(["10.1.0.0/16", "fd00::/64"])
    assert allowed.allow("10.1.2.3")
    assert allowed.allow("fd00::5")
    assert not allowed.allow("10.2.0.1")
    assert not allowed.allow("127.0.0.1")
    assert allowed.allow("8.8.8.8")
