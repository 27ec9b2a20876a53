"""Deadlines over real sockets, on the counting engine, whose answers a leash holds back: no race with their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.live.clients.channels import body, opened, posted, text_of
from tests.live.servers.held import Leash
from tests.live.servers.server import Server, left_unharmed, start_fake_server, stop_server

PATH = "/v1/chat/completions"
MADE = 5
"""How many tokens there are before the leash is taut."""
FIRST_TOKEN_S = 1.5
SOON = {"X-Request-Timeout": "1.5"}


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return ("--first-token-timeout-s", str(FIRST_TOKEN_S), "--request-timeout-s", "120")


@pytest.fixture(scope="module")
def env(leash: Leash) -> dict[str, str]:
    return {"FAKE_PACE_S": "0.001", "FAKE_LEASH": str(leash.path)}


@pytest.fixture
def server(fake: Server, leash: Leash) -> Iterator[Server]:
    leash.reaches(MADE)
    with left_unharmed(fake):
        yield fake
        fake.wait_idle(5)


def code_of(error: bytes | str) -> str:
    return str(json.loads(error)["error"]["code"])


def events_of(response: httpx.Response) -> list[bytes]:
    assert response.status_code == 200
    events = [line.removeprefix("data: ").encode() for line in response.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == b"[DONE]"
    return events[:-1]


@pytest.mark.parametrize("http2", [False, True])
def test_a_stream_whose_time_is_over_brings_what_there_is_then_the_error_then_the_end(
    server: Server, http2: bool
) -> None:
    with httpx.Client(timeout=60, http1=not http2, http2=http2) as client:
        asked = body(stream=True, max_tokens=50)
        *chunks, error = events_of(client.post(server.url + PATH, json=asked, headers=SOON))
        assert text_of(chunks) == "0 1 2 3 4 "
        assert code_of(error) == "deadline_exceeded"
        # The connection is good for more.
        assert client.get(f"{server.url}/livez").status_code == 200
    server.wait_idle(5)


def test_a_whole_answer_whose_time_is_over_is_a_504(server: Server) -> None:
    answer = httpx.post(server.url + PATH, json=body(max_tokens=50), headers=SOON, timeout=60)
    assert answer.status_code == 504
    assert code_of(answer.text) == "deadline_exceeded"
    assert "1.5" in answer.json()["error"]["message"]
    server.wait_idle(5)


def test_an_answer_that_is_done_in_time_is_as_ever(server: Server) -> None:
    answer = httpx.post(server.url + PATH, json=body(max_tokens=MADE), headers={"X-Request-Timeout": "100"}, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == MADE


def test_a_time_that_is_none_is_refused_before_the_body_is_read(server: Server) -> None:
    answer = httpx.post(server.url + PATH, content=b"{", headers={"X-Request-Timeout": "soon"}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "X-Request-Timeout"


def test_a_first_token_that_does_not_come_is_a_504(server: Server, leash: Leash) -> None:
    leash.reaches(0)
    answer = httpx.post(server.url + PATH, json=body(), timeout=60)
    assert answer.status_code == 504
    assert code_of(answer.text) == "first_token_timeout"
    assert int(answer.headers["Retry-After"]) > 0


def test_a_stream_that_has_begun_is_told_that_the_first_token_does_not_come(server: Server, leash: Leash) -> None:
    leash.reaches(0)
    # This engine's first step is an empty one, as after a silence: the status has been sent.
    *chunks, error = events_of(httpx.post(server.url + PATH, json=body(stream=True), timeout=60))
    assert text_of(chunks) == ""
    assert code_of(error) == "first_token_timeout"


async def test_a_neighbour_that_has_its_first_token_goes_on(server: Server, leash: Leash) -> None:
    async with posted(server, max_tokens=50) as neighbour:
        while text_of(neighbour.data) != "0 1 2 3 4 ":
            await neighbour.read(1)
        leash.reaches(0)
        async with opened(server) as channel:
            late = await channel.create("late", max_tokens=50)
            await channel.finish()
        assert [frame["error"]["code"] for frame in late.errors] == ["first_token_timeout"]
        assert late.done is not None
        assert late.done["status"] == "failed"
        leash.reaches(50)
        await neighbour.read()
        assert neighbour.is_done
        assert text_of(neighbour.data).split() == [str(number) for number in range(50)]


async def test_on_the_channel_one_streams_time_is_not_anothers(server: Server, leash: Leash) -> None:
    async with opened(server) as channel:
        short = await channel.create("short", max_tokens=50, timeout_s=1.5)
        long = await channel.create("long", max_tokens=50)
        await channel.until(lambda: short.is_over)
        assert short.text == "0 1 2 3 4 "
        assert [(frame["status"], frame["error"]["code"]) for frame in short.errors] == [(504, "deadline_exceeded")]
        assert not long.is_over
        leash.reaches(50)
        await channel.finish()
        assert long.done is not None
        assert long.done["status"] == "completed"


async def test_a_resumable_generation_has_the_same_deadline_when_nobody_reads(server: Server) -> None:
    async with opened(server) as channel:
        stream = await channel.create("a", max_tokens=50, timeout_s=1.5, grace_s=60)
        await channel.until(lambda: stream.text == "0 1 2 3 4 ")
        await channel.cut()
    await asyncio.to_thread(server.wait_idle, 10)
    async with opened(server) as channel:
        again = await channel.resume("b", stream.id, stream.token, stream.seq)
        await channel.finish()
    assert [frame["error"]["code"] for frame in again.errors] == ["deadline_exceeded"]
    async with httpx.AsyncClient(timeout=60) as client:
        assert (await client.delete(f"{server.url}{PATH}/{stream.id}")).status_code == 200


async def test_a_websocket_that_nobody_uses_is_closed_and_told() -> None:
    # A server of its own: its deadline is short.
    server = await asyncio.to_thread(start_fake_server, "--ws-unused-timeout-s", "1")
    try:
        async with opened(server) as channel:
            await channel.until(lambda: channel.others[-1]["type"] == "error")
            assert channel.others[-1]["error"]["code"] == "connection_unused"
            async with asyncio.timeout(60):
                await channel.ws.wait_closed()
            assert channel.ws.close_code == 1001
    finally:
        assert await asyncio.to_thread(stop_server, server) == 0
