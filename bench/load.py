"""A load generator for streamed chats, over any of four wires; prints one line of JSON.

    python -m bench.load --port 8000 --wire sse --streams 64 --tokens 128
    python -m bench.load --port 8000 --wire channel-one --streams 256 --total 512

`sse` and `sse-h2` ask any server that speaks OpenAI's interface; `channel` and `channel-one` speak the WebSocket of
docs/websocket.md, with a socket for each stream or with one for all. So many streams run side by side, each followed by
another until `--total` have ended. Every answer has exactly `--tokens` tokens (`ignore_eos`), so that what was counted
can be checked. Times are in milliseconds: the first token's from the request to the second chunk (the first has the
role), gaps between two reads of one stream.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson
import uvloop

from bench.bodies import SHAPES, body_of
from bench.stream import Stream
from bench.wires.choice import NAMES, wire_of

LIMIT_S = 300


@dataclass(frozen=True)
class Load:
    """What was asked, and what came. `chunks` counts a stream's, the one with its role and `[DONE]` too, but none
    that holds nothing but the reason of its end."""

    wire: str
    streams: int
    total: int
    tokens: int
    chunks: int
    seconds: float
    tokens_per_s: float
    first_ms_p50: float
    first_ms_p95: float
    gap_ms_p50: float
    gap_ms_p95: float


def percentile(values: Sequence[float], percent: int) -> float:
    """By interpolation; 0 where there are none."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def summary(wire: str, streams: int, tokens: int, ended: list[Stream], seconds: float) -> Load:
    """The figures of streams that have ended."""
    first = [stream.first_s * 1e3 for stream in ended if stream.first_s is not None]
    gaps = [gap * 1e3 for stream in ended for gap in stream.gaps]
    made = tokens * len(ended)
    return Load(
        wire,
        streams,
        len(ended),
        made,
        sum(stream.chunks for stream in ended),
        round(seconds, 4),
        round(made / seconds, 1),
        *(round(percentile(values, percent), 3) for values in (first, gaps) for percent in (50, 95)),
    )


async def run(options: argparse.Namespace) -> Load:
    """Put the load on the server, and measure."""
    total = options.streams if options.burst else max(options.total, options.streams)
    wire = wire_of(options.wire, options.host, options.port, options.per_connection)
    if not options.burst:
        await wire.open(options.streams)
    numbers = iter(range(total))
    ended: list[Stream] = []

    async def ask(slot: int) -> None:
        for number in numbers:
            stream = wire.ask(slot, body_of(number, options.model, options.prompt, options.tokens, options.shape))
            if options.burst:
                stream.begun = begun
            await stream.done
            ended.append(stream)

    begun = time.monotonic()
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        if options.burst:
            await wire.open(options.streams, at_once=True)
        for slot in range(options.streams):
            group.create_task(ask(slot))
    seconds = time.monotonic() - begun
    wire.close()
    return summary(options.wire, options.streams, options.tokens, ended, seconds)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--wire", choices=NAMES, default="sse")
    parser.add_argument("--streams", type=int, default=16, help="how many run side by side")
    parser.add_argument("--total", type=int, default=0, help="how many in all; at least as many as run side by side")
    parser.add_argument("--tokens", type=int, default=128, help="how many tokens each has")
    parser.add_argument("--shape", choices=SHAPES, default="plain", help="what the chats ask for: see bench/bodies.py")
    parser.add_argument(
        "--burst",
        action="store_true",
        help="connect all at once, and count from there; each connection asks for one chat",
    )
    parser.add_argument("--per-connection", type=int, default=100, help="streams of one connection of HTTP/2")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--prompt", default="How do I serve my own model?")
    return parser


def main() -> None:
    options = parser().parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(orjson.dumps(asdict(runner.run(run(options)))).decode())


if __name__ == "__main__":
    main()
