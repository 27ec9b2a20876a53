"""A leader and a follower on two machines, each with a copy of the model, and the faults that they have to survive.

The machines are network namespaces, or both this one where there can be none. `python -m bench.soak.ranks` has all the
other faults, and one copy of the model over both machines.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator

import psutil
import pytest

from tests.certificates import ROOT
from tests.live.servers.ranks.chats import COMPLETED, CUT, LEFT, Chat
from tests.live.servers.ranks.faults import ENDS_S, OF_COPIES, SOON_S, running, suffer
from tests.live.servers.ranks.network import missing
from tests.live.servers.ranks.pair import PLACES, Pair, copies, pair
from tests.live.servers.server import START_TIMEOUT_S

START_S = 2 * START_TIMEOUT_S
"""Two processes import vLLM at once."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3 * START_S),
    pytest.mark.skipif(sys.platform != "linux", reason="vLLM's ranks need Linux"),
]

RANKS = 2
SHORT = 24
WAITING_FOR_IT = "waiting for rank 1, on another machine"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    reason = missing()
    if reason is not None:
        warnings.warn(f"{reason}; both run on loopback", stacklevel=1)
    with pair(tmp_path_factory.mktemp("ranks"), copies, in_namespaces=reason is None, start_s=START_S) as made:
        yield made


def test_a_follower_with_other_options_is_refused_while_the_pair_starts(both: Pair) -> None:
    command = [*both.follower.command, "--max-num-seqs", str(PLACES + 1)]
    refused = subprocess.run(
        command, env=both.follower.env, cwd=ROOT, capture_output=True, text=True, timeout=START_S, check=False
    )
    assert refused.returncode == 1
    assert re.search(r"^twowire: error: the leader at \S+ has a different model, engine options", refused.stderr, re.M)


def test_both_ranks_serve_and_the_places_of_clients_that_vanish_are_free(both: Pair) -> None:
    both.wait_ready()
    server = both.server()
    chats = [Chat(both.url, SHORT) for _ in range(RANKS * PLACES)]
    for chat in chats:
        chat.join(SOON_S)
        assert chat.ended == COMPLETED
        assert chat.usage["completion_tokens"] == SHORT
    made = [server.metric("vllm:generation_tokens_total", engine=str(rank)) for rank in range(RANKS)]
    assert all(tokens >= 2 * SHORT for tokens in made), made
    chats = running(both, RANKS)
    assert server.metric("twowire_sequences_waiting") == 0
    for chat in chats:
        chat.leave()
        chat.join(SOON_S)
        assert chat.ended == LEFT
    server.wait_idle(SOON_S)


def test_while_the_followers_own_process_stands_still_its_rank_serves(both: Pair) -> None:
    both.follower.process.send_signal(signal.SIGSTOP)
    try:
        chats = [Chat(both.url, SHORT) for _ in range(RANKS * PLACES)]
        for chat in chats:
            chat.join(SOON_S)
            assert chat.ended == COMPLETED
        assert both.is_ready()
    finally:
        both.follower.process.send_signal(signal.SIGCONT)


def test_a_rank_that_hangs_on_another_machine_is_found_and_the_pair_serves_again(both: Pair) -> None:
    (fault,) = (fault for fault in OF_COPIES if fault.name == "SIGSTOP of the remote rank")
    suffer(both, fault, RANKS)
    assert '"engine_hung"' in "".join(both.leader.log)
    assert any(said["reason"] == WAITING_FOR_IT for said in both.healths), both.healths
    assert both.follower.codes == [1]
    assert "twowire: error: the leader's engine is another one\n" in both.follower.log


def test_a_leader_that_is_killed_cuts_its_clients_and_its_follower_starts_again(both: Pair) -> None:
    both.wait_ready()
    chats, starts, processes = running(both, RANKS), both.follower.starts, both.leader.processes()
    codes = list(both.follower.codes)
    both.leader.process.kill()
    for chat in chats:
        chat.join(ENDS_S)
        assert chat.ended == CUT
    assert not psutil.wait_procs(processes, ENDS_S)[1], "they outlive the leader"
    both.wait_until(lambda: both.leader.starts > 1, "the leader was not started again", ENDS_S)
    # What follows is as above; so there is no waiting for it.
    both.wait_until(lambda: both.follower.starts > starts, "the follower keeps ranks of no engine", START_S)
    assert both.follower.codes == [*codes, 1]
