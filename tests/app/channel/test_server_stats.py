"""The server's load on a channel: who may see what of it, how often it comes, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from app.config.channel import ChannelLimits
from app.config.load import load_settings
from app.observability import load
from engine.admission.admission import AdmissionLimits
from engine.queue.fair_queue import FairQueue, QueueEntry
from protocol.output import Delta
from tests.app.channel.channels import DONE, Harness, Peer, begin_stream, open_harness, turn, until

STATS = "server.stats"
ONE_SLOT = AdmissionLimits(1, 8)


class Time:
    """The monitor's clock, which the test moves: its timers go when they are told to."""

    def __init__(self, harness: Harness) -> None:
        self.now = 1000.0
        self._monitor = harness.services.load
        self._monitor._clock = lambda: self.now

    def tick(self, seconds: float = load.TICK_S) -> None:
        self.now += seconds
        if self._monitor._timer is not None:
            self._monitor._timer.cancel()
            self._monitor._tick()


async def subscribe(peer: Peer, **more: Any) -> dict[str, Any]:
    count = len(peer.of(STATS))
    await peer.say({"type": "server.stats.subscribe", "event_id": "s", **more})
    return await peer.wait_for(STATS, count=count + 1)


async def test_a_waiting_stream_learns_how_many_are_before_it() -> None:
    async with open_harness(admission=ONE_SLOT) as harness:
        time, other, peer = Time(harness), harness.peer(), harness.peer()
        await begin_stream(harness, other)
        await other.create("b")
        await other.wait_for("chat.completion.created", "b")
        await peer.create("mine")
        created = await peer.wait_for("chat.completion.created", "mine")
        place = {"stream_id": "mine", "id": created["id"], "waits_for": "engine"}
        assert await subscribe(peer) == {"type": STATS, "running": 1, "waiting": 2, "streams": [place | {"ahead": 1}]}
        harness.streams[0].end()
        await until(lambda: len(harness.streams) == 2)
        time.tick()
        assert (await peer.wait_for(STATS, count=2))["streams"] == [place | {"ahead": 0}]
        harness.streams[1].end()
        await until(lambda: len(harness.streams) == 3)
        time.tick()
        assert (await peer.wait_for(STATS, count=3))["streams"] == []


async def test_a_stream_that_waits_for_others_of_its_connection_says_so() -> None:
    async with open_harness() as harness:
        peer = harness.peer(ChannelLimits(max_running=1))
        await begin_stream(harness, peer)
        await peer.create("b")
        await peer.create("c")
        await turn()
        expected = [{"stream_id": name, "waits_for": "connection", "ahead": ahead} for ahead, name in enumerate("bc")]
        assert (await subscribe(peer))["streams"] == expected


async def test_the_pace_is_that_of_all_generations_since_the_last_report() -> None:
    async with open_harness() as harness:
        time, peer = Time(harness), harness.peer()
        await begin_stream(harness, peer, "a")
        await begin_stream(harness, peer, "b")
        assert "tokens_per_s" not in await subscribe(peer), "there is nothing to compare with"
        harness.engine.kv_cache_usage, harness.engine.told_at = 0.25, (float("inf"),)
        harness.streams[0].feed(Delta(0, "y", 4, "stop"))
        harness.streams[0].end()
        harness.streams[1].feed(Delta(0, "y", 2))
        await peer.wait_for(DONE, "a")
        await until(lambda: peer.text("b") == "xy")
        time.tick(2)
        found = await peer.wait_for(STATS, count=2)
        assert (found["tokens_per_s"], found["kv_cache_usage"], found["running"]) == (3.0, 0.25, 1)


async def test_the_load_is_measured_once_for_all_and_only_while_somebody_watches(monkeypatch: Any) -> None:
    async with open_harness() as harness:
        time, peers = Time(harness), [harness.peer() for _ in range(3)]
        measured: list[None] = []
        order = FairQueue.order

        def counted(queue: FairQueue) -> list[QueueEntry]:
            measured.append(None)
            return order(queue)

        monkeypatch.setattr(FairQueue, "order", counted)
        for peer in peers:
            await subscribe(peer)
        assert len(measured) == 1
        time.tick()
        for peer in peers:
            await peer.wait_for(STATS, count=2)
            await peer.say({"type": "server.stats.unsubscribe"})
        assert len(measured) == 2
        assert (len(harness.services.load), harness.services.load._timer) == (0, None)


async def test_reports_come_at_the_interval_that_was_asked_for_last() -> None:
    async with open_harness() as harness:
        time, peer = Time(harness), harness.peer()
        await subscribe(peer, interval_s=3)
        for expected in (1, 1, 2, 2):
            time.tick()
            await turn()
            assert len(peer.of(STATS)) == expected
        await peer.say({"type": "server.stats.subscribe"})
        time.tick()
        assert await peer.wait_for(STATS, count=3)
        await peer.say({"type": "server.stats.unsubscribe"})
        time.tick()
        await turn()
        assert len(peer.of(STATS)) == 3


async def test_a_slow_reader_skips_reports() -> None:
    async with open_harness() as harness:
        time, peer = Time(harness), harness.peer()
        await peer.wait_for("connection.ready")
        peer.takes.clear()
        await subscribe(peer)
        for _ in range(5):
            time.tick()
            await turn()
        peer.takes.set()
        await turn()
        assert len(peer.of(STATS)) == 2, "the one that was being sent, and the one that waited behind it"


async def test_a_connection_that_ends_watches_no_longer() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await subscribe(peer)
        assert len(harness.services.load) == 1
        await peer.channel.close()
        assert len(harness.services.load) == 0


async def test_more_than_may_watch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_WATCHES", 1)
    async with open_harness() as harness:
        await subscribe(harness.peer())
        peer = harness.peer()
        await peer.say({"type": "server.stats.subscribe", "event_id": "s"})
        error = await peer.wait_for("error")
        assert (error["event_id"], error["status"], error["error"]["code"]) == ("s", 429, "too_many_streams")


@pytest.mark.parametrize("interval_s", [0.5, 61, "often"])
async def test_an_interval_out_of_bounds_is_refused(interval_s: Any) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await peer.say({"type": "server.stats.subscribe", "interval_s": interval_s})
        assert (await peer.wait_for("error"))["error"]["param"] == "interval_s"
        assert not peer.of(STATS)


async def test_own_shows_the_places_of_the_connections_streams_and_nothing_of_others() -> None:
    async with open_harness(admission=ONE_SLOT, flags=("--server-stats", "own")) as harness:
        other, peer = harness.peer(), harness.peer()
        await begin_stream(harness, other)
        await peer.create("mine")
        await peer.wait_for("chat.completion.created", "mine")
        found = await subscribe(peer)
        assert found.keys() == {"type", "streams"}
        assert [(one["stream_id"], one["ahead"]) for one in found["streams"]] == [("mine", 0)]


async def test_off_shows_nothing() -> None:
    async with open_harness(flags=("--server-stats", "off")) as harness:
        peer = harness.peer()
        await peer.say({"type": "server.stats.subscribe", "event_id": "s"})
        error = await peer.wait_for("error")
        assert (error["event_id"], error["status"], error["error"]["code"]) == ("s", 403, "forbidden_stats")
        assert len(harness.services.load) == 0


@pytest.mark.parametrize(
    ("keys", "option", "shown"),
    [("", "auto", "all"), ("a", "auto", "all"), ("a,b", "auto", "own"), ("a,a", "auto", "all"), ("a,b", "all", "all")],
)
def test_several_keys_see_only_their_own_unless_the_operator_says_so(keys: str, option: str, shown: str) -> None:
    names = {"TWOWIRE_API_KEYS": ",".join(key * 16 for key in keys.split(","))} if keys else {}
    settings = load_settings(("--server-stats", option), names)
    assert settings.access.shown_stats == shown
