"""A follower runs for one engine of its leader's, and ends when that or a rank is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from engine.api import EngineStartError
from engine.ranks import follower
from engine.ranks.follower import BUSY, Leader, LeaderHealth, follow, read_health
from protocol.errors import Fault, TwowireError, error_bytes

SOON_S = 30


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "POLL_S", 0.005)


class FakeLeader:
    """Answers as the test says; None is no answer."""

    def __init__(self, *answers: LeaderHealth | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def read(self, _: str) -> LeaderHealth | None:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class FakeRanks:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.closed = False
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> FakeRanks:
        self.started.set()
        return self

    async def wait_dead(self) -> str:
        return await self.died

    def close(self) -> None:
        self.closed = True


OWN = "0d5e"
STARTING, READY = LeaderHealth("a-1", "starting", OWN), LeaderHealth("a-1", "ready", OWN)


async def followed(leader: FakeLeader, ranks: FakeRanks, stop: asyncio.Event | None = None) -> str | None:
    watched = Leader("http://leader", OWN, leader.read, lost_after_s=0.1)
    return await asyncio.wait_for(follow(watched, ranks.start, stop or asyncio.Event()), SOON_S)


async def test_it_starts_when_the_leader_does_and_ends_when_its_engine_is_another_one() -> None:
    ended, next_one = LeaderHealth("a-1", "ready"), LeaderHealth("a-2", "restarting")
    leader, ranks = FakeLeader(None, ended, STARTING, READY, READY, next_one), FakeRanks()
    assert await followed(leader, ranks) == "the leader's engine is another one"
    assert ranks.closed
    assert leader.asked == 6


async def test_it_ends_when_the_leader_is_gone() -> None:
    ranks = FakeRanks()
    assert await followed(FakeLeader(STARTING, READY, None), ranks) == "the leader has not answered for 0.1 s"
    assert ranks.closed


async def test_a_leader_with_too_many_connections_is_neither_gone_nor_another_one() -> None:
    next_one = LeaderHealth("a-2", "restarting")
    leader, ranks = FakeLeader(BUSY, STARTING, BUSY, READY, *[BUSY] * 40, next_one), FakeRanks()
    assert await followed(leader, ranks) == "the leader's engine is another one"
    assert leader.asked == 45


async def test_it_ends_when_a_rank_does() -> None:
    ranks = FakeRanks()
    ranks.died.set_result("EngineCore_DP1 ended unexpectedly (exit code -9)")
    assert await followed(FakeLeader(STARTING), ranks) == "EngineCore_DP1 ended unexpectedly (exit code -9)"
    assert ranks.closed


@pytest.mark.parametrize(
    ("digest", "reason"),
    [("0d5f", "has a different model, engine options"), ("", "expects no followers, or runs another")],
)
async def test_a_leader_with_a_different_model_is_refused_before_anything_starts(digest: str, reason: str) -> None:
    ranks = FakeRanks()
    with pytest.raises(EngineStartError, match=f"the leader at http://leader {reason}"):
        await followed(FakeLeader(None, LeaderHealth("a-1", "starting", digest)), ranks)
    assert not ranks.started.is_set()


async def test_a_start_that_fails_is_told() -> None:
    class Failing(FakeRanks):
        async def start(self) -> FakeRanks:
            raise EngineStartError("--model: there is none")

    with pytest.raises(EngineStartError, match="there is none"):
        await followed(FakeLeader(STARTING), Failing())


@pytest.mark.parametrize("answer", [None, STARTING], ids=["waiting", "running"])
async def test_told_to_stop_it_ends_in_peace(answer: LeaderHealth | None) -> None:
    leader, ranks, stop = FakeLeader(answer), FakeRanks(), asyncio.Event()
    following = asyncio.create_task(followed(leader, ranks, stop))
    if answer is not None:
        await asyncio.wait_for(ranks.started.wait(), SOON_S)
    stop.set()
    assert await following is None
    assert ranks.closed == (answer is not None)


ANSWERS = {
    "/health": b'{"status":"unavailable","state":"starting","engine_id":"b-7","engine_digest":"0d5e"}',
    "/full/health": error_bytes(TwowireError(Fault.TOO_MANY_CONNECTIONS, "full")),
    "/limited/health": error_bytes(TwowireError(Fault.QUEUE_FULL, "full")),
}


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/not-http/health":
                self.wfile.write(b"hello\r\n")
                return
            body = ANSWERS.get(self.path, b"x")
            self.send_response(503)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_a_leader_that_is_not_ready_is_read_and_anything_else_is_no_answer(server: HTTPServer) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    assert read_health(url) == LeaderHealth("b-7", "starting", OWN)
    assert read_health(f"{url}/full") == BUSY
    for path in ("nowhere", "limited", "not-http"):
        assert read_health(f"{url}/{path}") is None
    assert read_health("http://127.0.0.1:1") is None


def test_a_leader_is_not_asked_through_a_proxy(server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert read_health(f"http://127.0.0.1:{server.server_port}") == LeaderHealth("b-7", "starting", OWN)
