"""A server with the counting engine for each file, started with the `flags` and `env` that the file may define."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.servers.held import Leash
from tests.live.servers.server import Server, fake_server, left_unharmed


@pytest.fixture(scope="module")
def leash(tmp_path_factory: pytest.TempPathFactory) -> Leash:
    leash = Leash(tmp_path_factory.mktemp("leash") / "tokens")
    leash.reaches(0)
    return leash


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return ()


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    return {"FAKE_PACE_S": "0.001"}


@pytest.fixture(scope="module")
def fake(flags: tuple[str, ...], env: dict[str, str]) -> Iterator[Server]:
    with fake_server(*flags, env=env) as server:
        yield server


@pytest.fixture
def server(fake: Server) -> Iterator[Server]:
    """The file's server; fails the test that leaves something behind in it, or makes it log an error."""
    with left_unharmed(fake):
        yield fake
