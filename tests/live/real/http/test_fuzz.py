"""Twenty seconds of the fuzz job on the real engine: no hostile connection gets an error of the server's own.

The long one is `make fuzz`. Always with one seed, so that it does not fail by chance for somebody else; what a longer
run has found is in `tests/fuzz/corpus` and comes first.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cases import CORPUS, load
from tests.fuzz.job import Fuzz
from tests.fuzz.requests import KINDS
from tests.live.servers.server import Server, left_unharmed

SECONDS, SEED = 20.0, 20
CANARY_MS = 10_000.0
"""A machine that runs tests does other things, too: what makes the server slow shows in `make fuzz` on an idle one."""


@pytest.mark.slow
async def test_twenty_seconds_of_hostile_clients_finds_nothing(server: Server, tmp_path: Path) -> None:
    with left_unharmed(server):
        fuzz = Fuzz(server, SEED, canary_ms=CANARY_MS, folder=tmp_path)
        result = await fuzz.run(SECONDS, [load(file) for file in sorted(CORPUS.glob("*.json"))])
    assert result.failures() + result.slow == []
    for kind in KINDS:
        assert result.connections[kind] > 0, f"there were no connections of the kind {kind}"
    assert 200 in result.statuses["bodies"], "nothing got past the first check"
