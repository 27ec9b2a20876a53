"""What may happen to a pair, and what must follow.

Within `ENDS_S`, each client has an end that it can tell apart from a whole answer; /health does not call a dead engine
ready; and the pair serves again, though nobody does anything but the supervisors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.live.servers.ranks.chats import COMPLETED, CUT, Chat
from tests.live.servers.ranks.pair import Pair

ENDS_S = 30.0
DIED = "engine_died"
CHATS = 4
SOON_S = 60.0
"""For what takes no time on a machine that is not busy."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that `act` does to a pair, after which the engine is gone."""

    name: str
    act: Callable[[Pair], None]
    ends: str = DIED
    """How the chats end that ran meanwhile."""
    then: Callable[[Pair], None] = lambda pair: None
    """What is done once all have ended."""


@dataclass(frozen=True, slots=True)
class Suffered:
    """How long after a fault what happened, in seconds."""

    ended_s: float
    """The last chat's end."""
    serves_s: float
    """The next engine was ready."""


OF_COPIES = (
    Fault("SIGKILL of the remote rank", lambda pair: pair.follower.core().kill()),
    Fault("SIGSTOP of the remote rank", lambda pair: pair.follower.core().suspend()),
    Fault("SIGKILL of the local rank", lambda pair: pair.leader.core().kill()),
    Fault("SIGSTOP of the local rank", lambda pair: pair.leader.core().suspend()),
    Fault("SIGKILL of the follower", lambda pair: pair.follower.process.kill()),
    Fault(
        "SIGSTOP of all of the follower's processes, resumed later",
        lambda pair: pair.follower.suspend(),
        then=lambda pair: pair.follower.resume(),
    ),
    Fault("SIGKILL of the leader", lambda pair: pair.leader.process.kill(), ends=CUT),
)
OF_HALVES = (Fault("SIGKILL of the follower's worker", lambda pair: pair.follower.worker().kill()),)


def running(pair: Pair, ranks: int, chats: int = CHATS) -> list[Chat]:
    """So many new chats, some on each rank: vLLM balances by counts that may be a moment old."""
    begun = [Chat(pair.url) for _ in range(chats)]
    server, counts = pair.server(), [0.0] * ranks

    def runs() -> bool:
        counts[:] = (server.metric("vllm:num_requests_running", engine=str(rank)) for rank in range(ranks))
        return all(chat.events for chat in begun) and all(counts) and sum(counts) == chats

    pair.wait_until(runs, {"chats that should run": chats, "by rank": counts}, SOON_S)
    return begun


def suffer(pair: Pair, fault: Fault, ranks: int) -> Suffered:
    """Let it happen while chats run. Fails if what must follow does not."""
    before = pair.wait_ready()["engine_id"]
    chats, follower_starts = running(pair, ranks), pair.follower.starts
    fault.act(pair)
    began = time.monotonic()
    for chat in chats:
        chat.join(max(began + ENDS_S - time.monotonic(), 0))
    ends = [chat.ended for chat in chats]
    assert ends == [fault.ends] * len(chats), f"{fault.name}: {ends}"
    pair.wait_until(lambda: not pair.is_ready(), f"{fault.name}: a dead engine counts as ready", ENDS_S)
    seen = len(pair.healths)
    fault.then(pair)
    after = pair.wait_ready(other_than=before)["engine_id"]
    serves_s = time.monotonic() - began
    assert all(said["engine_id"] != before for said in pair.healths[seen:]), pair.healths[seen:]
    assert pair.follower.starts > follower_starts, "the follower's ranks belong to another engine"
    assert_serves(pair)
    assert pair.health()["engine_id"] == after, "the engine was replaced once more"
    return Suffered(max(chat.ended_at for chat in chats) - began, serves_s)


def assert_serves(pair: Pair, chats: int = CHATS, tokens: int = 8) -> None:
    """New chats get whole answers."""
    begun = [Chat(pair.url, tokens) for _ in range(chats)]
    for chat in begun:
        chat.join(SOON_S)
        assert chat.ended == COMPLETED, chat.ended
        assert chat.usage["completion_tokens"] == tokens
