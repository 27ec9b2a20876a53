"""Connections that are cut, and chats that are read on in on another: over real sockets and the real engine."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx
import pytest

from tests.live.clients.channels import (
    PATH,
    Channel,
    Events,
    Stream,
    body,
    come_and_go,
    forget,
    opened,
    posted,
    read_on,
    text_of,
    wait_finished,
)
from tests.live.servers.server import Server, left_as_found

TOKENS = 120
CUTS = 4
SEED = 20
MIB = 2**20


@pytest.fixture
def server(server: Server) -> Iterator[Server]:
    with left_as_found(server):
        yield server


@pytest.fixture(scope="module")
def uncut(shared_server: Server) -> str:
    answer = httpx.post(f"{shared_server.url}{PATH}", json=body(max_tokens=TOKENS), timeout=60).json()
    text = answer["choices"][0]["message"]["content"]
    assert len(text) > TOKENS / 2
    return str(text)


def cuts(seed: int) -> list[int]:
    """After how many chunks each connection is cut."""
    random_ = random.Random(SEED + seed)
    return [random_.randint(1, TOKENS // CUTS) for _ in range(CUTS)]


async def read_and_cut(channel: Channel, stream: Stream, chunks: int) -> None:
    count = len(stream.data) + chunks
    await channel.until(lambda: len(stream.data) >= count or stream.is_over)
    await channel.cut()


@pytest.mark.parametrize("seed", range(3))
async def test_a_chat_that_is_cut_again_and_again_reads_as_one_that_is_not(
    server: Server, uncut: str, seed: int
) -> None:
    first, *others = cuts(seed)
    async with opened(server) as channel:
        stream = await channel.create(grace_s=60, max_tokens=TOKENS)
        await read_and_cut(channel, stream, first)
    data, id_, token = stream.data, stream.id, stream.token
    for chunks in others:
        async with opened(server) as channel:
            stream = await channel.resume("again", id_, token, len(data))
            await read_and_cut(channel, stream, chunks)
            data += stream.data
    async with opened(server) as channel:
        stream = await channel.resume("last", id_, token, len(data))
        await channel.finish()
        data += stream.data
    assert stream.done is not None
    assert (stream.done["status"], stream.done["seq"]) == ("completed", len(data))
    assert text_of(data) == uncut
    await forget(server, id_)


async def finish_by_http(server: Server, id_: str, token: str, data: list[bytes]) -> Events:
    async with read_on(server, id_, token, len(data)) as events:
        await events.read()
        assert events.ids == list(range(len(data) + 1, len(data) + 1 + len(events.data)))
        data += events.data
        return events


@pytest.mark.parametrize("seed", range(3))
async def test_a_chat_begun_on_a_socket_is_finished_over_http(server: Server, uncut: str, seed: int) -> None:
    async with opened(server) as channel:
        stream = await channel.create(grace_s=60, max_tokens=TOKENS)
        await read_and_cut(channel, stream, cuts(seed)[0])
    assert (await finish_by_http(server, stream.id, stream.token, stream.data)).is_done
    assert text_of(stream.data) == uncut
    await forget(server, stream.id)


@pytest.mark.parametrize("seed", range(3))
async def test_a_chat_begun_by_post_is_finished_on_a_socket(server: Server, uncut: str, seed: int) -> None:
    async with posted(server, grace_s=60, max_tokens=TOKENS) as events:
        await events.read(cuts(seed)[0])
    data = events.data
    assert events.ids == list(range(1, len(data) + 1))
    async with opened(server) as channel:
        stream = await channel.resume("a", events.id, events.token, len(data))
        await channel.finish()
    assert stream.done is not None
    assert stream.done["status"] == "completed"
    assert text_of(data + stream.data) == uncut
    await forget(server, events.id)


async def test_a_chat_begun_by_post_is_finished_by_get_from_the_last_event_id(server: Server, uncut: str) -> None:
    async with posted(server, grace_s=60, max_tokens=TOKENS) as events:
        await events.read(10)
    headers = {"Twowire-Resume-Token": events.token, "Last-Event-ID": str(events.ids[-1])}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(f"{server.url}{PATH}/{events.id}/stream", headers=headers)
    lines = answer.content.split(b"\n")
    data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: {")]
    assert text_of(events.data + data) == uncut
    await forget(server, events.id)


async def test_a_generation_that_nobody_comes_back_to_ends_with_its_grace(server: Server) -> None:
    async with opened(server) as channel:
        stream = await channel.create(grace_s=0.5, max_tokens=1900)
        await read_and_cut(channel, stream, 5)
    assert server.in_engine() > 0
    server.wait_idle(3)
    async with httpx.AsyncClient(timeout=60) as client:
        headers = {"Twowire-Resume-Token": stream.token}
        answer = await client.get(f"{server.url}{PATH}/{stream.id}/stream", headers=headers)
    assert answer.status_code == 404, "its log is left"


async def test_a_second_reader_on_another_wire_takes_over(server: Server, uncut: str) -> None:
    async with opened(server) as channel:
        stream = await channel.create(grace_s=60, max_tokens=TOKENS)
        await channel.until(lambda: stream.data)
        async with read_on(server, stream.id, stream.token, 0) as events:
            await channel.until(lambda: stream.errors or stream.done)
            await events.read()
    if stream.errors:
        assert stream.errors[0]["error"]["code"] == "taken_over"
        assert channel.ws.close_code == 4409 or channel.ws.close_code is None
    assert text_of(events.data) == uncut
    await forget(server, stream.id)


# -- memory ----------------------------------------------------------------------------------------------------------


async def test_200_resumable_generations_of_the_real_engine_are_counted(server: Server) -> None:
    ids, peak = await come_and_go(server, 200, 150, per_socket=50)
    peak = max(peak, await wait_finished(server, 60))
    logs, held = server.metric("twowire_resume_logs"), server.metric("twowire_resume_log_bytes")
    print(f"200 x 150 tokens of the real engine: {logs:g} logs, {held / MIB:.1f} MiB, {peak / MIB:.1f} at most")
    assert logs >= 200, "other tests' may be kept beside these"
    # Each token is a chunk of some 200 bytes; and there is what a log takes beside its chunks.
    assert 200 * 4096 < held < 200 * (4096 + 150 * 350)
    await forget(server, *ids)
