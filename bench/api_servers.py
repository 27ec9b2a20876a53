"""What several API servers can carry, beside one, with the engine of the tests that only counts; prints Markdown.

    python -m bench.api_servers                      one API server and two
    python -m bench.api_servers . ../other-checkout  compares checkouts, in turn, so that both see the same machine

CPU time, so that it does not matter what else the machine does: all of it for a request and a token, and that of the
API server that spent most, which bounds what all of them carry. A request is one of one token on a connection of its
own, by a client with both limits, which no request reaches.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import free_port
from bench.responses import APIS
from bench.serve import Contender, Running, started

PLENTY = "1000000000"
AT_ONCE, TOKENS = 32, 100
LAST_ADDRESS = 250


@dataclass
class Costs:
    """CPU seconds of the API servers together, and of the busiest, for each thing asked."""

    together: list[float]
    busiest: list[float]


async def ask(port: int, number: int, request: bytes) -> None:
    """Ask from one of many addresses, for servers that choose by them."""
    source = (f"127.0.0.{2 + number % LAST_ADDRESS}", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(answer.decode(errors="replace"))


async def ask_all(port: int, request: bytes, times: int) -> None:
    """`times` requests, `AT_ONCE` of them at once."""
    left = iter(range(times))

    async def worker() -> None:
        for number in left:
            await ask(port, number, request)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def measure(running: Running, costs: dict[str, Costs], requests: int, streams: int) -> None:
    """Add one round."""
    chat = APIS[0]
    for name, tokens, times in (("request", 1, requests), ("token", TOKENS, streams)):
        before = running.cpu_of_each_s()
        asyncio.run(ask_all(running.contender.port, chat.request(tokens), times))
        spent = [after - earlier for after, earlier in zip(running.cpu_of_each_s(), before, strict=True)]
        made = times * tokens
        costs[name].together.append(sum(spent) / made)
        costs[name].busiest.append(max(spent) / made)


def contender(folder: Path, count: int) -> Contender:
    """A server with so many API servers, from a checkout. It makes tokens as fast as they are read."""
    port = free_port()
    command = [sys.executable, "-m", "tests.live.servers.fake_server", "serve", "--port", str(port), "--no-embeddings"]
    command += ["--api-server-count", str(count), "--log-level", "warning"]
    command += ["--requests-per-minute", PLENTY, "--tokens-per-minute", PLENTY]
    environment = {"FAKE_PACE_S": "0", "PYTHONPATH": str(folder)}
    return Contender(f"{folder.name}, {count}", command, port, (), environment, folder)


def table(found: dict[str, dict[str, Costs]]) -> str:
    """A row for each server. What it carries is shown beside the first one."""
    lines = [
        "| API servers | ms of CPU per request | requests | µs per token | tokens |",
        "|---|---|---|---|---|",
    ]
    first = next(iter(found.values()))
    for name, costs in found.items():
        cells = [name]
        for what, unit, digits in (("request", 1e3, 2), ("token", 1e6, 1)):
            rounds = zip(first[what].busiest, costs[what].busiest, strict=True)
            carried = statistics.median(alone / busiest for alone, busiest in rounds)
            cells += [f"{statistics.median(costs[what].together) * unit:.{digits}f}", f"{carried:.2f} times"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.api_servers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*", default=[Path()])
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=1000)
    options = parser.parse_args()
    with ExitStack() as stack:
        all_running = [
            stack.enter_context(started(contender(folder.resolve(), count)))
            for folder in options.folders
            for count in options.counts
        ]
        found = {one.contender.name: {what: Costs([], []) for what in ("request", "token")} for one in all_running}
        for one in all_running:
            one.wait_ready()
            measure(one, {what: Costs([], []) for what in ("request", "token")}, AT_ONCE, AT_ONCE)
        for _ in range(options.rounds):
            for one in all_running:
                measure(one, found[one.contender.name], options.requests, options.streams)
    print(table(found))


if __name__ == "__main__":
    main()
