"""What an open stream takes of this server's memory, on each wire; prints Markdown.

    python -m bench.memory

The engine is the one of the tests that only counts, so that what is measured is the server's own: connection, request,
reply and generation.
"""

from __future__ import annotations

import asyncio
import sys

import psutil

from bench.bodies import body_of
from bench.processes import free_port
from bench.serve import Contender, started
from bench.wires.choice import NAMES, wire_of

STREAMS = 1000
WARM_UP = 100
PACE_S = 0.5
"""A token of each stream in this time: slow enough that they all run while memory is read."""
TOKENS = 40


def contender(port: int) -> Contender:
    """The server with the counting engine."""
    command = [
        sys.executable,
        "-m",
        "tests.live.servers.fake_server",
        "serve",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    command += ["--max-num-seqs", str(2 * STREAMS), "--ws-max-running", str(STREAMS), "--no-embeddings"]
    command += ["--ws-max-messages-per-s", str(10 * STREAMS)]
    return Contender("twowire", command, port, NAMES, {"FAKE_PACE_S": str(PACE_S)})


async def open_streams(name: str, port: int, streams: int, tokens: int, process: psutil.Process) -> int:
    """How many bytes the server has while so many streams run; returns when they have ended."""
    wire = wire_of(name, "127.0.0.1", port, 100)
    await wire.open(streams)
    running = [wire.ask(slot, body_of(slot, "guide", "Hello", tokens)) for slot in range(streams)]
    while any(stream.first_s is None for stream in running):  # noqa: ASYNC110  # so many have no event in common
        await asyncio.sleep(0.1)
    rss: int = process.memory_info().rss
    if tokens < TOKENS:
        await asyncio.gather(*(stream.done for stream in running))
    for stream in running:
        stream.done.cancel()  # What becomes of it is of no interest.
    wire.close()
    return rss


def main() -> None:
    print("| Wire | KiB for each open stream |\n|---|---|")
    for name in NAMES:
        port = free_port()
        with started(contender(port)) as running:
            running.wait_ready()
            process = psutil.Process(running.pid)
            # What is made once, and what the allocator keeps.
            asyncio.run(open_streams(name, port, WARM_UP, 2, process))
            before = process.memory_info().rss
            during = asyncio.run(open_streams(name, port, STREAMS, TOKENS, process))
            print(f"| {name} | {(during - before) / STREAMS / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    main()
