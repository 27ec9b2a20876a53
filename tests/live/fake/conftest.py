"""Servers on the counting engine, which start in a second."""

from __future__ import annotations

import pytest

from tests.live.servers.held import Leash


@pytest.fixture(scope="module")
def leash(tmp_path_factory: pytest.TempPathFactory) -> Leash:
    leash = Leash(tmp_path_factory.mktemp("leash") / "tokens")
    leash.reaches(0)
    return leash
