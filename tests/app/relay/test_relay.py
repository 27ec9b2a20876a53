"""Generations of one server, read, followed and cancelled through another, over TCP and over a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from app.factory import create_app
from app.generation.replay.elsewhere import Whereabouts, whereabouts_of
from app.generation.replay.reader import ReplayReader
from app.relay import listener, messages, remote
from app.relay.listener import RelayListener
from app.relay.peers import Peers
from app.stores.memory import MemoryStore
from engine.sharing.meeting import Meeting
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import CREATED, DONE, RESUME, Harness, Peer, until
from tests.app.generation.replay.resumables import Resumable, begin
from tests.app.generation.replay.test_followers import follow_token

SECRET = b"a secret of both servers"


@dataclass
class Pair:
    """A server that generates, and another one that is asked."""

    here: Harness
    there: Harness
    listener: RelayListener

    async def resume(self, begun: Resumable, after: int = 0, token: str | None = None) -> ReplayReader:
        return await self.there.replays.resume(begun.id, None, token or begun.token, after)


@pytest_asyncio.fixture(params=["tcp", "unix"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    here, there = Harness(), Harness()
    place = Whereabouts(here.manager.id_prefix[:8])
    listener = here.services.relay
    if request.param == "tcp":
        server = await listener.serve_tcp("127.0.0.1", 0, SECRET)
        store = MemoryStore()
        await store.put(f"relay:{place.server}", f"127.0.0.1:{server.sockets[0].getsockname()[1]}".encode())
        there.replays.elsewhere = Peers(Whereabouts("f" * 8), [], store, SECRET, None)
        async with create_app(here.services).test_app(), create_app(there.services).test_app():
            yield Pair(here, there, listener)
    else:
        with Meeting.at(tmp_path / "s") as meeting:
            task = asyncio.create_task(listener.serve_unix(meeting))
            there.replays.elsewhere = Peers(Whereabouts(place.server, 1), [meeting.path], MemoryStore(), None, None)
            async with create_app(here.services).test_app(), create_app(there.services).test_app():
                yield Pair(here, there, listener)
            task.cancel()


async def all_of(reader: ReplayReader) -> list[bytes]:
    chunks = []
    while (some := await reader.next()) is not None:
        chunks += some
    return chunks


async def test_a_generation_is_resumed_through_another_server_as_it_is_made(pair: Pair) -> None:
    begun = await begin(pair.here)
    await begun.make("a", "b")
    await begun.lose()
    reader = await pair.resume(begun, after=1)
    first = await reader.next()
    await begun.make("c")
    begun.stream.end()
    rest = await all_of(reader)
    texts = b"".join([*(first or []), *rest])
    assert [texts.count(b'"content":"%b"' % text) for text in (b"a", b"b", b"c")] == [1, 1, 1]
    assert (reader.status, reader.seq, reader.outcome) == ("completed", begun.buffer.last_seq, "completed")
    assert reader.usage == begun.buffer.usage
    assert reader.buffer.token == begun.token
    await reader.leave()


async def test_the_bytes_are_those_of_the_server_that_has_it(pair: Pair) -> None:
    begun = await begin(pair.here)
    await begun.make("ä\u2028", '"', "c")
    begun.stream.end()
    through = await all_of(await pair.resume(begun))
    assert through == await all_of(await begun.read(0))


async def test_a_channel_resumes_through_another_server(pair: Pair) -> None:
    begun = await begin(pair.here)
    await begun.make("a", "b")
    await begun.lose()
    peer: Peer = pair.there.peer()
    fields = {"id": begun.id, "resume_token": begun.token, "starting_after": 1}
    await peer.say({"type": RESUME, "stream_id": "back", "event_id": "r", **fields})
    begun.stream.end()
    done = await peer.wait_for(DONE, "back")
    assert (done["status"], done["seq"]) == ("completed", begun.buffer.last_seq)
    assert peer.text("back") == "ab"


async def test_an_unknown_id_a_wrong_token_and_another_key_look_alike(pair: Pair) -> None:
    begun = await begin(pair.here)
    errors = []
    unknown = f"{begun.id[:-4]}0000"
    for id_, owner, token in ((begun.id, None, "x"), (unknown, None, begun.token), (begun.id, "other", begun.token)):
        with pytest.raises(TwowireError) as refused:
            await pair.there.replays.resume(id_, owner, token, 0)
        errors.append((refused.value.fault, refused.value.message, refused.value.param))
    assert set(errors) == {(Fault.COMPLETION_NOT_FOUND, "There is no such completion, or it is not yours.", "id")}


async def test_a_wrong_position_is_refused_as_the_server_does_that_has_it(pair: Pair) -> None:
    begun = await begin(pair.here)
    with pytest.raises(TwowireError) as refused:
        await pair.resume(begun, after=9)
    assert (refused.value.fault, refused.value.param) == (Fault.INVALID_VALUE, "starting_after")


async def test_a_reader_elsewhere_is_displaced_and_displaces(pair: Pair) -> None:
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    await begun.peer.wait_for("error", "a")
    await reader.next()
    await begun.come_back(after=0)
    with pytest.raises(TwowireError) as displaced:
        await all_of(reader)
    assert displaced.value.fault is Fault.TAKEN_OVER
    assert reader.error_events(displaced.value)
    await reader.leave()


async def test_one_that_leaves_is_missed_where_it_runs(pair: Pair) -> None:
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    assert begun.buffer.is_read
    await reader.leave()
    await until(lambda: not begun.buffer.is_read)
    assert reader.outcome == "detached"
    assert not begun.buffer.is_finished


async def test_followers_read_on_next_to_the_reader(pair: Pair) -> None:
    begun = await begin(pair.here)
    await begun.make("a")
    follower = await pair.there.replays.follow(begun.id, follow_token(begun), 0)
    watcher = await pair.there.replays.watch(begun.id, None, 0)
    begun.stream.end()
    assert await all_of(follower) == await all_of(watcher)
    assert (await begun.peer.wait_for(DONE))["status"] == "completed"
    with pytest.raises(TwowireError):
        await pair.there.replays.watch(begun.id, "other", 0)


async def test_a_reader_elsewhere_cancels(pair: Pair) -> None:
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    await reader.cancel()
    await all_of(reader)
    assert (reader.status, begun.buffer.status) == ("cancelled", "cancelled")


async def test_a_generation_is_cancelled_by_its_id_through_another_server(pair: Pair) -> None:
    begun = await begin(pair.here)
    client = create_app(pair.there.services).test_client()
    path = f"/v1/chat/completions/{begun.id}"
    gone = await client.delete(f"/v1/chat/completions/{begun.id[:-4]}0000")
    assert gone.status_code == 404
    answer = await client.delete(path)
    assert answer.status_code == 200
    assert (await begun.peer.wait_for(DONE))["status"] == "cancelled"


async def test_a_slow_reader_holds_up_the_server_that_has_it_and_no_memory(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_WAITING", 4)
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    assert isinstance(reader.buffer, remote.RemoteBuffer)
    await begun.make(*("x" for _ in range(40)))
    await until(lambda: len(reader.buffer._events) >= 4)  # type: ignore[attr-defined]  # seen above
    begun.stream.end()
    assert len(await all_of(reader)) == begun.buffer.last_seq


async def test_a_server_that_is_gone_ends_its_streams_with_an_error(pair: Pair) -> None:
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    await reader.next()
    await pair.listener.close()
    with pytest.raises(TwowireError) as lost:
        await all_of(reader)
    assert lost.value.fault is Fault.ENGINE_DIED
    assert (reader.status, reader.outcome) == ("failed", "failed")
    await until(lambda: not begun.buffer.is_read)


async def test_a_server_with_another_secret_is_refused() -> None:
    here, there = Harness(), Harness()
    server = await here.services.relay.serve_tcp("127.0.0.1", 0, SECRET)
    store = MemoryStore()
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await store.put(f"relay:{here.manager.id_prefix[:8]}", address.encode())
    there.replays.elsewhere = Peers(Whereabouts("f" * 8), [], store, b"another secret", None)
    async with create_app(here.services).test_app(), create_app(there.services).test_app():
        begun = await begin(here)
        with pytest.raises(TwowireError) as refused:
            await there.replays.resume(begun.id, None, begun.token, 0)
        assert refused.value.fault is Fault.COMPLETION_NOT_FOUND
        assert begun.peer.of(CREATED)
        # Nothing but a request with a proof is answered.
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        assert (await reader.readline()).startswith(b'{"challenge":')
        writer.write(b'{"op":"cancel","id":"%b","owner":null}\n' % begun.id.encode())
        assert b'"refused"' in await reader.readline()
        assert await reader.read() == b""
        assert not begun.buffer.is_finished
        writer.close()


async def test_an_unreachable_server_looks_like_an_unknown_id() -> None:
    harness = Harness()
    harness.replays.elsewhere = Peers(Whereabouts("f" * 8), [], MemoryStore(), SECRET, None)
    with pytest.raises(TwowireError) as refused:
        await harness.replays.resume("chatcmpl-" + "0" * 32, None, "x", 0)
    assert refused.value.fault is Fault.COMPLETION_NOT_FOUND
    assert await harness.replays.ask("cancel", "chatcmpl-" + "0" * 32, None) is None


@pytest.mark.parametrize("answer_id", ["", "chatcmpl-", "chatcmpl-xyz", "resp_" + "g" * 32, "é" * 40])
def test_other_ids_name_no_server(answer_id: str) -> None:
    assert whereabouts_of(answer_id) is None


def test_an_id_names_its_server_and_api_server() -> None:
    place = Whereabouts("0123abcd", 17)
    assert whereabouts_of(f"chatcmpl-{place.id_prefix}{'0' * 22}") == place


async def test_a_request_that_reaches_the_wrong_api_server_is_passed_on(tmp_path: Path) -> None:
    here, wrong, there = Harness(), Harness(), Harness()
    place = Whereabouts(here.manager.id_prefix[:8])
    beside = Whereabouts(place.server, 1)
    store = MemoryStore()
    with Meeting.at(tmp_path / "s") as meeting:
        task = asyncio.create_task(here.services.relay.serve_unix(meeting))
        wrong.replays.elsewhere = Peers(beside, [meeting.path], MemoryStore(), None, None)
        listener = RelayListener(wrong.replays, beside)
        there.replays.elsewhere = Peers(Whereabouts("f" * 8), [], store, SECRET, None)
        async with create_app(here.services).test_app(), create_app(wrong.services).test_app():
            listener.operations.update(wrong.services.relay.operations)
            server = await listener.serve_tcp("127.0.0.1", 0, SECRET)
            await store.put(f"relay:{place.server}", f"127.0.0.1:{server.sockets[0].getsockname()[1]}".encode())
            begun = await begin(here)
            assert await there.replays.ask("cancel", begun.id, None) is True
            assert (await begun.peer.wait_for(DONE))["status"] == "cancelled"
            await listener.close()
        task.cancel()


async def test_a_server_that_says_nothing_more_ends_its_streams_with_an_error(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SILENT_FOR_S", 0.05)
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    with pytest.raises(TwowireError) as lost:
        await all_of(reader)
    assert lost.value.fault is Fault.ENGINE_DIED


async def test_a_silent_server_says_that_it_runs(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = asyncio.Semaphore(0)
    receive = messages.receive

    async def noted(reader: asyncio.StreamReader, most: int) -> messages.Message | None:
        message = await receive(reader, most)
        if message == {"alive": True}:
            beats.release()
        return message

    monkeypatch.setattr(remote, "receive", noted)
    monkeypatch.setattr(listener, "ALIVE_EVERY_S", 0.01)
    begun = await begin(pair.here)
    reader = await pair.resume(begun)
    async with asyncio.timeout(30):
        for _ in range(3):
            await beats.acquire()
    await begun.make("a")
    begun.stream.end()
    assert b'"content":"a"' in b"".join(await all_of(reader))
