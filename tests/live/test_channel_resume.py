"""Connections that are cut, and chats that are read on in on another: over real sockets and the real engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.live.channels import PATH, Channel, Events, Stream, body, forget, opened, posted, read_on, text_of
from tests.live.conftest import Server, left_as_found, start_fake_server, stop_server

TOKENS = 120
CUTS = 4
SEED = 20
KEY, OTHER_KEY = "key-of-one", "key-of-another"
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


# -- who may ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    env = {"TWOWIRE_API_KEYS": f"{KEY},{OTHER_KEY}", "FAKE_PACE_S": "0.002"}
    server = start_fake_server("--public-metrics", env=env)
    yield server
    assert stop_server(server) == 0


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_wrong_key_wrong_token_expired_and_unknown_are_the_same_404_on_both_wires(guarded: Server) -> None:
    with left_as_found(guarded):
        async with opened(guarded, additional_headers=bearer(KEY)) as channel:
            stream = await channel.create("a", grace_s=60, max_tokens=10**6)
            expired = await channel.create("b", grace_s=0.001, max_tokens=10**6)
            await channel.until(lambda: stream.data and expired.data)
        guarded.wait_until(lambda: guarded.metric("twowire_resume_logs") == 1, 5, "the second has expired")
        wrong = [
            (OTHER_KEY, stream.id, stream.token),
            (KEY, stream.id, "wrong" + stream.token),
            (KEY, stream.id, ""),
            (KEY, expired.id, expired.token),
            (KEY, "chatcmpl-unknown", stream.token),
        ]
        by_http, by_socket, deleted = set(), set(), set()
        async with httpx.AsyncClient(base_url=guarded.url + PATH) as client:
            for key, id_, token in wrong:
                headers = bearer(key) | {"Twowire-Resume-Token": token}
                answer = await client.get(f"/{id_}/stream", headers=headers)
                by_http.add((answer.status_code, answer.content))
                if (key, id_) != (KEY, stream.id):
                    answer = await client.delete(f"/{id_}", headers=headers)
                    deleted.add((answer.status_code, answer.content))
                async with opened(guarded, additional_headers=bearer(key)) as channel:
                    again = await channel.resume("a", id_, token, 0)
                    await channel.finish()
                    by_socket.add((again.errors[0]["status"], str(again.errors[0]["error"])))
            assert len(by_http) == len(by_socket) == 1
            assert by_http == deleted
            [(status, error)] = by_socket
            assert status == 404
            [(status, raw)] = by_http
            assert (status, str(httpx.Response(200, content=raw).json()["error"])) == (404, error)
            # It is there all the same, for whom it belongs to.
            assert (await client.delete(f"/{stream.id}", headers=bearer(KEY))).status_code == 200
            async with opened(guarded, additional_headers=bearer(KEY)) as channel:
                again = await channel.resume("a", stream.id, stream.token, 0)
                await channel.finish()
                assert again.done is not None
                assert again.done["status"] == "cancelled"
            await client.delete(f"/{stream.id}", headers=bearer(KEY))


# -- memory ----------------------------------------------------------------------------------------------------------


async def come_and_go(server: Server, generations: int, tokens: int, per_socket: int = 20) -> tuple[list[str], float]:
    """Resumable generations, each of which loses its socket; returns their ids and the most that the logs held."""
    ids: list[str] = []
    peak = 0.0
    while len(ids) < generations:
        async with opened(server) as channel:
            streams = [
                await channel.create(f"s{n}", grace_s=120, max_tokens=tokens, min_tokens=tokens)
                for n in range(per_socket)
            ]
            await channel.until(lambda streams=streams: all(stream.data for stream in streams))  # type: ignore[misc]  # a default
            await channel.cut()
        ids += [stream.id for stream in streams]
        peak = max(peak, await asyncio.to_thread(server.metric, "twowire_resume_log_bytes"))
    return ids, peak


async def wait_finished(server: Server, limit_s: float) -> float:
    """Until the engine is idle; the most that the logs held meanwhile."""
    peak = 0.0

    def is_idle() -> bool:
        nonlocal peak
        peak = max(peak, server.metric("twowire_resume_log_bytes"))
        return server.in_engine() == 0

    await asyncio.to_thread(server.wait_until, is_idle, limit_s, "they have not ended")
    return peak


async def test_200_long_resumable_generations_stay_within_the_bounds() -> None:
    bound, of_one = 16 * MIB, 256 * 1024
    flags = ("--resume-logs-max-bytes", str(bound), "--resume-log-max-bytes", str(of_one), "--ws-max-running", "20")
    server = start_fake_server(*flags, env={"FAKE_PACE_S": "0.002"})
    try:
        with left_as_found(server):
            process = psutil.Process(server.process.pid)
            await come_and_go(server, 20, 10)
            rss = process.memory_info().rss
            ids, peak = await come_and_go(server, 200, 2000)
            peak = max(peak, await wait_finished(server, 60))
            grown = process.memory_info().rss - rss
            print(f"200 x 2000 tokens: logs {peak / MIB:.1f} MiB of {bound / MIB:.0f}, process {grown / MIB:+.1f} MiB")
            assert bound / 2 < peak <= bound
            assert grown < 2 * bound
            logs = server.metric("twowire_resume_logs")
            assert 0 < logs < 200, "the bound was not felt"
            await forget(server, *ids)
    finally:
        assert stop_server(server) == 0


async def test_200_resumable_generations_of_the_real_engine_are_counted(server: Server) -> None:
    ids, peak = await come_and_go(server, 200, 150, per_socket=50)
    peak = max(peak, await wait_finished(server, 60))
    logs, held = server.metric("twowire_resume_logs"), server.metric("twowire_resume_log_bytes")
    print(f"200 x 150 tokens of the real engine: {logs:g} logs, {held / MIB:.1f} MiB, {peak / MIB:.1f} at most")
    assert logs >= 200, "other tests' may be kept beside these"
    # Each token is a chunk of some 200 bytes; and there is what a log takes beside its chunks.
    assert 200 * 4096 < held < 200 * (4096 + 150 * 350)
    await forget(server, *ids)
