"""Keys and hosts: the checks alone, without a server."""

from __future__ import annotations

import pytest

from app.security.api_keys import KeyRing
from app.security.hosts import HostCheck
from protocol.errors import Fault, TwowireError

KEYS = KeyRing(["first-key-1234", "second-key-5678"])


@pytest.mark.parametrize(
    "header",
    ["Bearer first-key-1234", "Bearer second-key-5678", "bearer first-key-1234", "BEARER  second-key-5678 "],
)
def test_a_right_key_enters(header: str) -> None:
    KEYS.check([header])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Basic first-key-1234"],
        ["first-key-1234"],
        ["Bearer first-key-123"],
        ["Bearer first-key-12345"],
        ["Bearer FIRST-KEY-1234"],
        ["Bearer first-key-1234,second-key-5678"],
        ["Bearer k\xe9y-k\xe9y-k\xe9y"],
        ["Bearer \u2603"],
        ["Bearer first-key-1234", "Bearer first-key-1234"],
    ],
)
def test_anything_else_does_not_and_is_not_repeated(headers: list[str]) -> None:
    with pytest.raises(TwowireError) as refused:
        KEYS.check(headers)
    assert refused.value.fault is Fault.INVALID_API_KEY
    assert "key-1" not in refused.value.message


@pytest.mark.parametrize(
    ("authorization", "api_keys"),
    [
        ([], ["first-key-1234"]),
        (["Bearer for-another-server"], ["first-key-1234"]),
        (["Basic whatever"], [" first-key-1234"]),
        (["Bearer first-key-1234"], ["for-another-server"]),
    ],
)
def test_one_known_key_is_enough(authorization: list[str], api_keys: list[str]) -> None:
    assert KEYS.check(authorization, api_keys) == KEYS.check(["Bearer first-key-1234"])


@pytest.mark.parametrize(
    ("authorization", "api_keys"),
    [
        ([], ["first-key-123"]),
        ([], [""]),
        (["Bearer unknown"], ["unknown"]),
        ([], ["first-key-1234", "first-key-1234"]),
        (["Bearer first-key-1234"], ["a", "b"]),
    ],
)
def test_no_known_key_or_too_many_are_refused(authorization: list[str], api_keys: list[str]) -> None:
    with pytest.raises(TwowireError) as refused:
        KEYS.check(authorization, api_keys)
    assert refused.value.fault is Fault.INVALID_API_KEY


def test_without_keys_everybody_enters() -> None:
    assert not KeyRing([])
    KeyRing([]).check([])


def test_no_key_can_be_read_back() -> None:
    assert "first" not in repr(vars(KEYS))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.8.9.1", "[::1]:8000", "[::1]"])
def test_loopback_names_are_answered(host: str) -> None:
    HostCheck(only_loopback=True).check([host])


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "10.0.0.1", "localhost.evil.example"])
def test_a_foreign_name_is_refused_where_no_key_guards(host: str) -> None:
    with pytest.raises(TwowireError) as refused:
        HostCheck(only_loopback=True).check([host])
    assert refused.value.fault is Fault.FORBIDDEN_HOST
    HostCheck(only_loopback=False).check([host])
    HostCheck(only_loopback=True, allowed=[host.partition(":")[0].upper()]).check([host])


@pytest.mark.parametrize(
    "hosts", [[], [""], ["a/?x="], ["a b"], ["a:b"], ["a:99999"], ["[::1"], ["a", "a"], ["user@a"], ["a" * 300 + "/"]]
)
def test_a_malformed_host_is_refused_everywhere(hosts: list[str]) -> None:
    for check in (HostCheck(only_loopback=True), HostCheck(only_loopback=False)):
        with pytest.raises(TwowireError) as refused:
            check.check(hosts)
        assert refused.value.fault is Fault.INVALID_HOST


@pytest.mark.parametrize("address", [("10.1.2.3", 8000), ("0.0.0.0", 80), ("fe80::1", 1)])
def test_without_keys_no_other_machine_is_answered_whoever_bound_the_address(address: tuple[str, int]) -> None:
    with pytest.raises(TwowireError) as refused:
        HostCheck(only_loopback=False, is_open=False).check(["a"], address)
    assert refused.value.fault is Fault.FORBIDDEN_HOST
    HostCheck(only_loopback=False, is_open=True).check(["a"], address)


@pytest.mark.parametrize("address", [None, ("127.0.0.1", 1), ("::1", 1), ("/run/a.sock", None)])
def test_loopback_addresses_and_sockets_of_this_machine_are_answered(address: tuple[str, int | None] | None) -> None:
    HostCheck(only_loopback=False, is_open=False).check(["a"], address)
