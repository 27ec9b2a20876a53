"""Clients that go away, in every way a socket allows: their generations end, and nothing of them stays behind."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from app.hypercorn.http1 import MAX_PIPELINED_BYTES
from tests.live.clients.raw import Leave, RawClient, answer_of, request_bytes
from tests.live.servers.server import MODEL, Server

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
CONTEXT = 2048
FLAT_MIB = 12
"""Two rounds of a hundred clients may differ by so much: the allocator's noise, not a leak of 100 of anything."""


def asked(path: str, **more: object) -> dict[str, object]:
    prompt = {"messages": [{"role": "user", "content": "Tell me."}]} if path == CHAT else {"prompt": "Once upon"}
    return {"model": MODEL, "max_tokens": 1900, "ignore_eos": True, "temperature": 0, **prompt, **more}


def running(server: Server) -> float:
    return server.metric("vllm:num_requests_running")


def ended(server: Server, outcome: str) -> float:
    return server.metric("twowire_generations_total", outcome=outcome)


def greedy_text(server: Server, max_tokens: int = 64) -> str:
    body = asked(COMPLETION, max_tokens=max_tokens)
    answer = httpx.post(f"{server.url}{COMPLETION}", json=body, timeout=60).json()
    return str(answer["choices"][0]["text"])


async def vanish(port: int, raw: bytes, after_s: float, how: Leave) -> bool:
    """Send `raw`, read for `after_s`, be gone; whether the whole answer had come by then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    received = b""
    try:
        async with asyncio.timeout(after_s):
            while not received.endswith((b"\r\n0\r\n\r\n", b'"}}')):
                received += await reader.read(65536)
    except TimeoutError:
        pass
    if how == "reset":
        # Lingering for 0 s makes `close` send a reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    return received.endswith(b"\r\n0\r\n\r\n")


async def crowd(server: Server, seed: int, clients: int = 100) -> list[bool]:
    """Clients of every kind that come and go at random moments; for each, whether it saw its answer's end."""
    random_ = random.Random(seed)
    kinds: Iterator[Any] = itertools.cycle(itertools.product((CHAT, COMPLETION), (True, False), ("reset", "close")))
    visits = []
    for path, stream, how in itertools.islice(kinds, clients):
        # Some are short enough to be answered before their client leaves.
        body = asked(path, stream=stream, max_tokens=random_.choice([1, 40, 1900]))
        visits.append(vanish(server.port, request_bytes(path, body), random_.uniform(0.0, 3.0), how))
    return await asyncio.gather(*visits)


async def test_a_hundred_clients_that_vanish_leave_nothing_behind(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    await crowd(server, seed=1)
    server.wait_idle(2)
    memory = process.memory_info().rss
    tasks = server.metric("twowire_asyncio_tasks")
    before = {outcome: ended(server, outcome) for outcome in ("completed", "cancelled", "failed")}
    lines = sum('"completion_tokens"' in line for line in server.log)

    saw_the_end = await crowd(server, seed=2)
    server.wait_idle(2)
    server.wait_until(lambda: server.metric("twowire_asyncio_tasks") <= tasks, 2, "tasks were left behind")
    grown = (process.memory_info().rss - memory) / 2**20
    assert grown < FLAT_MIB, f"{grown:.1f} MiB more after the second hundred"
    by_outcome = {outcome: ended(server, outcome) - count for outcome, count in before.items()}
    assert by_outcome["failed"] == 0
    assert by_outcome["completed"] >= sum(saw_the_end) > 0
    assert by_outcome["cancelled"] > 0
    # Every request that reached the engine has its line in the log, with its tokens; one that left before has none.
    server.wait_until(
        lambda: sum('"completion_tokens"' in line for line in server.log) - lines == sum(by_outcome.values()),
        2,
        f"as many log lines with tokens as generations, {by_outcome}",
    )
    assert 50 < sum(by_outcome.values()) <= 100


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("path", [CHAT, COMPLETION], ids=["chat", "completion"])
def test_leaving_while_tokens_come_frees_the_slot(server: Server, path: str, stream: bool, how: Leave) -> None:
    cancelled = ended(server, "cancelled")
    with RawClient(server.port) as client:
        client.send(request_bytes(path, asked(path, stream=stream)))
        if stream:
            client.read_until(b"data: ", count=5)
        else:
            server.wait_until(lambda: running(server) == 1, 5, "it runs")
        client.leave(how)
    server.wait_idle(1)
    assert ended(server, "cancelled") == cancelled + 1


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_leaving_the_queue_before_the_first_token(server: Server, stream: bool) -> None:
    with RawClient(server.port) as one, RawClient(server.port) as other, RawClient(server.port) as last:
        for client in (one, other):  # Together all that the engine computes at once.
            client.send(request_bytes(CHAT, asked(CHAT, n=128, temperature=1)))
        server.wait_until(lambda: running(server) == 256, 10, "all places are taken")
        last.send(request_bytes(CHAT, asked(CHAT, stream=stream)))
        server.wait_until(lambda: server.metric("twowire_sequences_waiting") == 1, 10, "it waits")
        last.leave("reset")
        server.wait_until(lambda: server.metric("twowire_sequences_waiting") == 0, 1, "it still waits")
        assert running(server) == 256, "it left before it ran"
        one.leave("close")
        other.leave("reset")
    server.wait_idle(2)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_leaving_during_the_prefill(server: Server, how: Leave) -> None:
    ids = random.Random(how)
    prompts = [[ids.randrange(3, 200) for _ in range(CONTEXT - 8)] for _ in range(64)]
    first_tokens = server.metric("vllm:generation_tokens_total")
    with RawClient(server.port) as client:
        client.send(request_bytes(COMPLETION, asked(COMPLETION, prompt=prompts, max_tokens=4, stream=True)))
        server.wait_until(
            lambda: server.metric("vllm:num_requests_waiting") > 0, 10, "prompts wait for others' prefill"
        )
        client.leave(how)
    server.wait_idle(1)
    assert server.metric("vllm:generation_tokens_total") - first_tokens < 64, "not every prompt was computed"


def block(server: Server, client: RawClient, max_tokens: int = 1900) -> None:
    """Have `client` ask for more than it will read, and wait until the server stands in a send."""
    body = asked(CHAT, stream=True, logprobs=True, top_logprobs=20, n=4, max_tokens=max_tokens)
    client.send(request_bytes(CHAT, body))
    seen: list[float] = []

    def stands_still() -> bool:
        seen.append(server.metric("twowire_inter_token_seconds_count", wire="sse"))
        tokens.append(server.metric("vllm:generation_tokens_total"))
        # The engine made hundreds of tokens more, and none of them was taken.
        still = [made for made, taken in zip(tokens, seen, strict=True) if taken == seen[-1]]
        return seen[-1] > seen[0] and still[-1] - still[0] > 400

    tokens: list[float] = []
    server.wait_until(stands_still, 90, "the server stands in a send")
    assert running(server) == 4, "it must still be running for this to mean anything"


@pytest.mark.parametrize("how", ["reset", "close"])
def test_leaving_while_the_server_is_blocked_in_a_send(server: Server, how: Leave) -> None:
    with RawClient(server.port, receive_buffer=2048) as client:
        block(server, client)
        client.leave(how)
    server.wait_idle(1)


def test_a_reader_that_falls_far_behind_does_not_stall_others(server: Server) -> None:
    # The other has its connection already: to make one costs a client more than all that is measured here.
    with (
        httpx.Client(base_url=server.url, timeout=30) as other,
        RawClient(server.port, receive_buffer=64 * 1024) as client,
    ):
        other.get("/livez")
        block(server, client, max_tokens=1300)
        server.wait_until(lambda: running(server) == 0, 60, "the engine has made all of it")
        reading = threading.Thread(target=client.read_until, args=(b"data: [DONE]",))
        started = time.monotonic()
        reading.start()
        waits = []
        while reading.is_alive():
            waits.append(other.get("/livez").elapsed.total_seconds())
        took = time.monotonic() - started
        assert max(waits) < took * 2 / 3, f"others waited {max(waits):.2f} s of the {took:.2f} s that the backlog took"
        assert client.received.count(b'"finish_reason":"length"') == 4
    server.wait_idle(1)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_pipelined_client_that_leaves(server: Server, stream: bool) -> None:
    # A stream would notice at its next write; an answer that is not streamed writes nothing until its end.
    two = request_bytes(CHAT, asked(CHAT, stream=stream)) + request_bytes(COMPLETION, asked(COMPLETION))
    hows: list[Leave] = ["reset", "close"]
    for how in hows:
        with RawClient(server.port) as client:
            client.send(two)
            if stream:
                client.read_until(b"data: ", count=3)
            else:
                server.wait_until(lambda: running(server) == 1, 5, "it runs")
            client.leave(how)
        server.wait_idle(1)


def test_a_pipelined_request_is_answered_after_the_one_before_it(server: Server) -> None:
    first = request_bytes(COMPLETION, asked(COMPLETION, max_tokens=64, stream=True))
    second = request_bytes(COMPLETION, asked(COMPLETION, max_tokens=64), headers="Connection: close\r\n")
    with RawClient(server.port) as client:
        client.send(first + second)
        received = client.read_to_end()
    end = received.index(b"data: [DONE]")
    end = received.index(b"0\r\n\r\n", end) + 5
    status, headers, body = answer_of(received[end:])
    assert (status, headers["content-type"]) == (200, "application/json")
    assert httpx.Response(200, content=body).json()["choices"][0]["text"] == greedy_text(server)
    assert answer_of(received[:end])[0] == 200


@pytest.mark.parametrize("reads", [True, False], ids=["reading", "not-reading"])
def test_too_much_that_is_pipelined_closes_the_connection(server: Server, reads: bool) -> None:
    second = request_bytes(COMPLETION, asked(COMPLETION, user="x" * MAX_PIPELINED_BYTES))
    with RawClient(server.port, receive_buffer=None if reads else 2048) as client:
        if reads:
            client.send(request_bytes(CHAT, asked(CHAT, stream=True)))
            client.read_until(b"data: ")
        else:
            block(server, client)
        client.send(second)
        server.wait_idle(1)
        assert b"[DONE]" not in client.read_to_end()


def test_a_client_that_closes_its_half_has_left(server: Server) -> None:
    # A server cannot tell it from one that is gone: TCP says the same of both.
    for stream in (True, False):
        with RawClient(server.port) as client:
            client.send(request_bytes(CHAT, asked(CHAT, stream=stream)))
            server.wait_until(lambda: running(server) == 1, 5, "it runs")
            client.half_close()
            server.wait_idle(1)
            assert b"[DONE]" not in client.read_to_end(limit_s=5)


async def test_clients_that_vanish_change_nothing_for_their_neighbours(server: Server) -> None:
    alone = greedy_text(server, max_tokens=600)
    cancelled = ended(server, "cancelled")
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        neighbours = [
            asyncio.create_task(client.post(COMPLETION, json=asked(COMPLETION, max_tokens=600))) for _ in range(3)
        ]
        await crowd(server, seed=3, clients=64)
        texts = {(await neighbour).json()["choices"][0]["text"] for neighbour in neighbours}
    assert texts == {alone}
    assert ended(server, "cancelled") > cancelled
    server.wait_idle(2)
