"""How the fixes get into hypercorn, and out again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
from hypercorn import protocol
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.protocol import ProtocolWrapper

from app.hypercorn import IncompatibleHypercorn, install, uninstall
from app.hypercorn.fixes import PLACES, Http1Protocol, is_installed, names_of_fixes


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    uninstall()
    yield
    uninstall()
    install()


def in_place() -> list[Any]:
    return [getattr(place.module, place.name) for place in PLACES]


def test_installing_takes_every_place_once_and_can_be_undone() -> None:
    assert in_place() == [place.theirs for place in PLACES]
    assert not is_installed()
    for _ in range(2):
        install()
        assert in_place() == [place.ours for place in PLACES]
        assert is_installed()
    uninstall()
    assert in_place() == [place.theirs for place in PLACES]


def test_a_fix_can_be_left_out_and_stays_out() -> None:
    install(without=["SkipEmptyLines", "allow_missing_host"])
    install()
    installed: Any = protocol.__dict__["H11Protocol"]
    bases = {base.__name__ for base in installed.__mro__}
    assert {base.__name__ for base in Http1Protocol.__mro__} - bases == {"SkipEmptyLines"}
    assert [place.name for place in PLACES if getattr(place.module, place.name) is place.theirs] == ["Request"]


def test_what_is_no_fix_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="no_such_fix"):
        install(without=["no_such_fix"])
    assert not is_installed()


def test_no_two_fixes_have_one_name() -> None:
    names = [name for name in names_of_fixes() if name != "NameStream"]
    # hypercorn looks streams up in two modules.
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"DropUnreadMessages", "HoldEarlyFrames", "CloseWithCode"}


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.hypercorn.fixes.version", lambda name: "0.19.0")
    with pytest.raises(IncompatibleHypercorn, match=r"needs hypercorn 0\.18\.\*, and 0\.19\.0"):
        install()
    assert not is_installed()
    assert metadata.version("hypercorn").startswith("0.18.")


def test_a_hypercorn_without_what_is_relied_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(TCPServer, "_initiate_server_close")
    monkeypatch.delattr(ProtocolWrapper, "__init__")
    monkeypatch.delattr(ProtocolWrapper, "handle")
    with pytest.raises(IncompatibleHypercorn) as caught:
        install()
    for name in ("TCPServer._initiate_server_close", "hypercorn.protocol.H11Protocol"):
        assert name in str(caught.value)
    assert not is_installed()
