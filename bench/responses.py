"""What a token and a request of Responses and Messages cost the API server, compared with a chat; prints Markdown.

    python -m bench.responses

CPU time of the server's process, over server-sent events, with the engine of the tests that only counts. In each round
the APIs follow one another; a ratio is the median of the rounds' own ratios to the chat of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from dataclasses import dataclass
from typing import Any

import orjson
import psutil

from bench.processes import free_port
from bench.serve import Contender, started

MODEL, QUESTION = "guide", "Hello"
STREAMS = 8
TOKENS = 3000
REQUESTS = 200


@dataclass(frozen=True)
class Api:
    """An API: where, and what a request consists of beside the limit of tokens."""

    name: str
    path: str
    limit: str
    body: dict[str, Any]

    def request(self, tokens: int) -> bytes:
        """A request over HTTP, for so many tokens."""
        body = orjson.dumps({"model": MODEL, "stream": True, self.limit: tokens} | self.body)
        head = f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


CHAT = {"messages": [{"role": "user", "content": QUESTION}]}
APIS = (
    Api("chat", "/v1/chat/completions", "max_tokens", CHAT),
    Api("Responses, stored", "/v1/responses", "max_output_tokens", {"input": QUESTION}),
    Api("Responses, `store: false`", "/v1/responses", "max_output_tokens", {"input": QUESTION, "store": False}),
    Api("Messages", "/v1/messages", "max_tokens", CHAT),
)


async def ask(port: int, request: bytes) -> int:
    """Send a request, and read its answer to the end; returns the number of events."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode(errors="replace"))
    return answer.count(b"\ndata: ")


async def ask_all(port: int, request: bytes, times: int) -> None:
    """`times` requests, `STREAMS` of them at once."""
    for _ in range(times // STREAMS):
        await asyncio.gather(*(ask(port, request) for _ in range(STREAMS)))


def cost_s(process: psutil.Process, port: int, request: bytes, times: int) -> float:
    """The CPU seconds that the server spends on so many requests."""
    before = process.cpu_times()
    asyncio.run(ask_all(port, request, times))
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system)


def measured(port: int, process: psutil.Process, rounds: int, tokens: int) -> dict[str, list[tuple[float, float]]]:
    """Of each API the CPU of each round: microseconds per token, and milliseconds per request of one token."""
    costs: dict[str, list[tuple[float, float]]] = {api.name: [] for api in APIS}
    for number in range(rounds + 1):
        for api in APIS:
            long = cost_s(process, port, api.request(tokens), STREAMS) / STREAMS / tokens * 1e6
            short = cost_s(process, port, api.request(1), REQUESTS) / REQUESTS * 1e3
            if number:  # The first warms up.
                costs[api.name].append((long, short))
    return costs


def table(costs: dict[str, list[tuple[float, float]]]) -> str:
    """The table of docs/explanation/performance.md: a row for each API."""
    lines = [
        "| CPU of the API server | µs per token | relative to chat | ms per request | relative to chat |",
        "|---|---|---|---|---|",
    ]
    chat = costs[APIS[0].name]
    for name, rounds in costs.items():
        cells = [name]
        for which, digits in ((0, 1), (1, 2)):
            own = statistics.median(cost[which] for cost in rounds)
            ratio = statistics.median(cost[which] / base[which] for cost, base in zip(rounds, chat, strict=True))
            cells += [f"{own:.{digits}f}", f"{ratio:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Measure what the other APIs cost beside a chat.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    asked = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "tests.live.servers.fake_server", "serve", "--port", str(port)]
    command += ["--log-level", "warning", "--no-embeddings"]
    # It makes tokens as fast as they are read.
    with started(Contender("twowire", command, port, (), {"FAKE_PACE_S": "0"})) as running:
        running.wait_ready()
        print(table(measured(port, psutil.Process(running.pid), asked.rounds, asked.tokens)))


if __name__ == "__main__":
    main()
