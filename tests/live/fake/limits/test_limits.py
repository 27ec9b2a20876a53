"""What one client may have of the server, over real sockets, on the counting engine. On every wire the same account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import openai
import pytest

from tests.live.clients.channels import body, opened, text_of
from tests.live.servers.held import Leash
from tests.live.servers.server import MODEL, Server, fake_server, left_unharmed, start_fake_server, stop_server

PATH = "/v1/chat/completions"
REQUESTS, TOKENS = 4, 2000
PROMPT_TOKENS = 3
"""Of any prompt on the counting engine."""
KEYS = [f"key-number-{number:08}" for number in range(40)]


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return ("--requests-per-minute", str(REQUESTS), "--tokens-per-minute", str(TOKENS), "--public-metrics")


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    return {"FAKE_PACE_S": "0.001", "TWOWIRE_API_KEYS": ",".join(KEYS)}


@pytest.fixture
def server(fake: Server) -> Iterator[Server]:
    with left_unharmed(fake):
        yield fake
        fake.wait_idle(5)


@pytest.fixture
def fresh() -> str:
    """A key that no test has used: accounts are full again only after a minute."""
    return KEYS.pop()


def as_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def post(server: Server, key: str, **more: Any) -> httpx.Response:
    return httpx.post(server.url + PATH, json=body(max_tokens=5) | more, headers=as_key(key), timeout=60)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("http2", [False, True])
def test_a_key_that_asks_too_often_is_refused_and_another_is_not(server: Server, stream: bool, http2: bool) -> None:
    eager, other = KEYS.pop(), KEYS.pop()
    with httpx.Client(timeout=60, http1=not http2, http2=http2) as client:

        def ask(key: str) -> httpx.Response:
            return client.post(server.url + PATH, json=body(max_tokens=5, stream=stream), headers=as_key(key))

        answers = [ask(eager) for _ in range(3 * REQUESTS)]
        served = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(served) + len(refused) == len(answers)
        # A slow machine may take so long that some of the minute's requests come back meanwhile.
        assert len(served) >= REQUESTS
        assert refused
        assert [answer.status_code for answer in answers[:REQUESTS]] == [200] * REQUESTS
        for answer in answers:
            assert answer.headers["x-ratelimit-limit-requests"] == str(REQUESTS)
            assert answer.headers["x-ratelimit-limit-tokens"] == str(TOKENS)
        for answer in refused:
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
            assert answer.json()["error"]["type"] == "requests"
            assert 1 <= int(answer.headers["Retry-After"]) <= 60 / REQUESTS
            assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        # On the same connection, which refusals have left alone.
        assert ask(other).status_code == 200


def test_openais_client_takes_it_for_a_rate_limit(server: Server, fresh: str) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=fresh, max_retries=0, timeout=60) as client:

        def ask_too_often() -> None:
            for _ in range(10 * REQUESTS):
                client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], max_tokens=1)

        with pytest.raises(openai.RateLimitError) as refused:
            ask_too_often()
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.response.headers["retry-after"]


def test_an_answer_overdraws_the_tokens_and_is_not_cut(server: Server, fresh: str) -> None:
    answer = post(server, fresh, max_tokens=2 * TOKENS)
    assert answer.json()["usage"]["completion_tokens"] == 2 * TOKENS
    refused = post(server, fresh)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "tokens"
    assert refused.headers["x-ratelimit-remaining-tokens"] == "0"
    # More than a minute's worth is owed, less than what came back since.
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert post(server, KEYS.pop()).status_code == 200


async def test_a_running_answer_is_counted_before_it_is_done(server: Server, fresh: str) -> None:
    async with httpx.AsyncClient(timeout=60, headers=as_key(fresh)) as client:
        asked = body(stream=True, max_tokens=10**6)
        async with client.stream("POST", server.url + PATH, json=asked) as running:
            assert running.status_code == 200
            assert int(running.headers["x-ratelimit-remaining-tokens"]) <= TOKENS - PROMPT_TOKENS
            chunks = [line.removeprefix("data: ").encode() async for line in taken_until(running, 3 * TOKENS)]
            assert len(text_of(chunks).split()) >= 3 * TOKENS
            refused = await client.post(server.url + PATH, json=body())
            assert (refused.status_code, refused.json()["error"]["type"]) == (429, "tokens")


async def taken_until(response: httpx.Response, tokens: int) -> Any:
    """The chunks' lines until so many tokens have come."""
    seen = 0
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield line
            seen += len(text_of([line.removeprefix("data: ").encode()]).split())
            if seen >= tokens:
                return


async def test_the_channel_draws_on_the_same_account(server: Server, fresh: str) -> None:
    async with opened(server, additional_headers=as_key(fresh)) as channel:
        names = [f"s{number}" for number in range(3 * REQUESTS)]
        for name in names:
            await channel.create(name, max_tokens=5)
        await channel.finish()
        streams = [channel.streams[name] for name in names]
        refused = [stream for stream in streams if not stream.id]
        assert refused
        for stream in refused:
            (frame,) = stream.errors
            assert (frame["status"], frame["error"]["code"]) == (429, "rate_limit_exceeded")
            assert 1 <= frame["retry_after_s"] <= 60 / REQUESTS
        served = [stream for stream in streams if stream.id]
        assert len(served) >= REQUESTS
        assert {stream.done["status"] for stream in served if stream.done} == {"completed"}
        answer = await asyncio.to_thread(post, server, fresh)
        assert answer.status_code == 429, "the other wire knows of it"
        async with opened(server, additional_headers=as_key(KEYS.pop())) as neighbour:
            stream = await neighbour.create("a", max_tokens=5)
            await neighbour.finish()
            assert stream.done is not None
            assert stream.done["status"] == "completed"


def test_what_was_refused_is_counted(server: Server, fresh: str) -> None:
    before = server.metric("twowire_refusals_total", reason="rate_limit_exceeded")
    refused = sum(post(server, fresh).status_code == 429 for _ in range(3 * REQUESTS))
    assert refused
    assert server.metric("twowire_refusals_total", reason="rate_limit_exceeded") == before + refused


# -- fair between keys -----------------------------------------------------------------------------------------------

PLACES, QUEUE = 4, 16


@pytest.fixture(scope="module")
def shared(leash: Leash) -> Iterator[Server]:
    places = ("--max-num-seqs", str(PLACES), "--max-running-per-key", str(PLACES), "--max-queued", str(QUEUE))
    env = {"FAKE_PACE_S": "0.005", "FAKE_LEASH": str(leash.path), "TWOWIRE_API_KEYS": "a-key-that-floods,a-late-key"}
    with fake_server(*places, "--public-metrics", env=env) as server:
        yield server


async def full_of(server: Server, client: httpx.AsyncClient, order: list[str]) -> list[asyncio.Task[httpx.Response]]:
    """One key's requests in all places and all of the queue. `order` tells in which order requests are done."""

    async def ask() -> httpx.Response:
        answer = await client.post(server.url + PATH, json=body(max_tokens=5), headers=as_key("a-key-that-floods"))
        order.append("flood")
        return answer

    tasks = [asyncio.create_task(ask()) for _ in range(PLACES + QUEUE)]
    await until(server, "twowire_sequences_in_engine", PLACES + QUEUE)
    assert await asyncio.to_thread(server.metric, "twowire_sequences_waiting") == QUEUE
    return tasks


async def until(server: Server, metric: str, value: int) -> None:
    await asyncio.to_thread(server.wait_until, lambda: server.metric(metric) == value, 30, f"{metric} is {value}")


@pytest.mark.parametrize("wire", ["http", "channel"])
async def test_a_key_that_comes_late_is_next_although_another_has_filled_the_queue(
    shared: Server, leash: Leash, wire: str
) -> None:
    leash.reaches(0)
    order: list[str] = []
    limits = httpx.Limits(max_connections=None)
    late = as_key("a-late-key")
    async with httpx.AsyncClient(timeout=60, limits=limits) as client, AsyncExitStack() as stack:
        flood = await full_of(shared, client, order)
        refused = await client.post(shared.url + PATH, json=body(), headers=as_key("a-key-that-floods"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_full")
        assert refused.headers["Retry-After"]

        async def ask() -> None:
            if wire == "http":
                answer = await client.post(shared.url + PATH, json=body(max_tokens=5), headers=late)
                assert answer.status_code == 200, answer.text
            else:
                stream = await channel.create(max_tokens=5)
                await channel.finish()
                assert stream.done is not None, stream.errors
                assert stream.done["status"] == "completed"
            order.append("late")

        if wire == "channel":
            channel = await stack.enter_async_context(opened(shared, additional_headers=late))
        asking = asyncio.create_task(ask())
        # The newest of the other's has made room for it, and nobody else's.
        done, _ = await asyncio.wait(flood, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        (pushed_out,) = done
        assert pushed_out.result().status_code == 503
        assert pushed_out.result().json()["error"]["code"] == "queue_full"
        await until(shared, "twowire_sequences_in_engine", PLACES + QUEUE)
        leash.reaches(5)
        await asking
        answers = await asyncio.gather(*flood)
    assert sorted(answer.status_code for answer in answers) == [200] * (PLACES + QUEUE - 1) + [503]
    # Those that ran already come before it, and perhaps those that ran beside it. In one line it would be the last.
    assert order.index("late") < 3 * PLACES
    await asyncio.to_thread(shared.wait_idle, 10)


async def test_who_waits_and_leaves_makes_room(shared: Server, leash: Leash) -> None:
    leash.reaches(0)
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        flood = await full_of(shared, client, [])
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
    await asyncio.to_thread(shared.wait_idle, 10)
    assert await asyncio.to_thread(shared.metric, "twowire_sequences_waiting") == 0


async def test_a_key_that_has_all_it_may_waits_and_another_runs(leash: Leash) -> None:
    leash.reaches(0)
    env = {"FAKE_PACE_S": "0.005", "FAKE_LEASH": str(leash.path), "TWOWIRE_API_KEYS": "a-key-that-floods,a-late-key"}
    server = await asyncio.to_thread(start_fake_server, "--max-running-per-key", "2", "--public-metrics", env=env)
    try:
        async with opened(server, additional_headers=as_key("a-key-that-floods")) as channel:
            for number in range(6):
                await channel.create(f"s{number}", max_tokens=50)
            await until(server, "twowire_sequences_waiting", 4)
            async with opened(server, additional_headers=as_key("a-late-key")) as other:
                stream = await other.create(max_tokens=50)
                leash.reaches(5)
                await other.until(lambda: stream.text == "0 1 2 3 4 ")
                # It runs beside those two, which are not done: four still wait.
                assert await asyncio.to_thread(server.metric, "twowire_sequences_waiting") == 4
                leash.reaches(50)
                await other.finish()
                await channel.finish()
        assert {stream.done["status"] for stream in channel.streams.values() if stream.done} == {"completed"}
    finally:
        assert await asyncio.to_thread(stop_server, server) == 0
