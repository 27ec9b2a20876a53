"""Compares this server's wires with vLLM's own server and with bare `AsyncLLM`; `make bench`.

    python -m bench.run                     five rounds; writes performance.json and the tables of performance.md
    python -m bench.run --quick             one short round; prints the tables
    python -m bench.run --also 'rust=env/bin/vllm serve … --port {port} --served-model-name {model}'

All contenders run at the same time, and are measured in turn, one after another in every round, so that whatever else
the machine does meets each alike; a figure is the median of the rounds, with the smallest and the largest beside it.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from bench.serve import ENGINE, Running, another, bare, rust, started, twowire, vllm
from bench.tables import chart, tables
from bench.wires.choice import NAMES
from engine.config import GUIDE

DOCUMENT = Path("docs/explanation/performance.md")
RESULTS = Path("docs/explanation/performance.json")
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

TOTALS = {1: 8, 16: 64, 64: 192, 256: 512, 512: 1024}
"""How many streams there are in all, by how many run side by side: some ten thousand tokens."""

REQUESTS, REQUESTS_AT_ONCE = 256, 16
"""How many answers of one token there are, and how many at a time."""


@dataclass(frozen=True)
class Case:
    """One thing to measure."""

    streams: int
    total: int
    tokens: int


def cases(counts: list[int], tokens: int, *, is_quick: bool) -> list[Case]:
    """The cases of a round; the last is the cost of a request."""
    share = 4 if is_quick else 1
    found = [Case(count, max(TOTALS.get(count, 2 * count) // share, count), tokens) for count in counts]
    return [*found, Case(REQUESTS_AT_ONCE, REQUESTS // share, 1)]


def measure(running: list[Running], todo: list[Case], rounds: int) -> list[dict[str, Any]]:
    """All measurements, in the order in which they were made."""
    found = []
    for number in range(-1, rounds):
        for case in todo:
            for one in running:
                for wire in one.contender.wires:
                    # The first round warms up: each server's code, and the caches of the machine.
                    total = case.total if number >= 0 else case.streams
                    figures = one.load(wire, case.streams, total, case.tokens)
                    figures |= {"contender": one.contender.name, "round": number, "tokens_each": case.tokens}
                    us = figures["cpu_s"] / figures["tokens"] * 1e6
                    said = f"{figures['tokens_per_s']:.0f} tokens/s, first {figures['first_ms_p50']:.0f} ms"
                    print(f"{number} {one.contender.name} {wire} {case}: {us:.1f} us, {said}", file=sys.stderr)
                    if number >= 0:
                        found.append(figures)
    return found


def write(document: Path, text: str) -> None:
    """Put `text` between the marks of the document."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "name" in line),
        platform.processor(),
    )
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(), "engine": ENGINE}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, written nowhere")
    parser.add_argument("--rounds", type=int, default=0, help="5, with --quick 1")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--model", type=Path, default=GUIDE)
    parser.add_argument("--wires", nargs="+", choices=NAMES, default=list(NAMES), help="of this server")
    parser.add_argument("--without", nargs="+", choices=("bare", "vllm", "quiet-vllm", "coalesced"), default=[])
    parser.add_argument("--api-server-count", type=int, help="measure this server with so many API servers, too")
    parser.add_argument(
        "--rust", type=Path, help="vLLM's program vllm-rs, to measure its experimental Rust frontend, too"
    )
    parser.add_argument("--also", action="append", default=[], help="a further server: NAME=COMMAND")
    parser.add_argument("--results", type=Path, help=f"where to put the figures; {RESULTS}, with --quick nowhere")
    return parser


def main() -> None:
    options = parser().parse_args()
    # So that the servers are ended, too, where this is.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    everybody = {
        "bare": bare(options.model),
        "vllm": vllm(options.model),
        "quiet-vllm": vllm(options.model, "--disable-log-stats", name="vLLM's server, no statistics"),
        "twowire": twowire(options.model, tuple(options.wires)),
        "coalesced": twowire(options.model, ("sse", "channel-one"), "--coalesce-ms", "20", name="twowire, 20 ms"),
    }
    chosen = [one for name, one in everybody.items() if name not in options.without]
    if options.api_server_count is not None:
        several = ("--api-server-count", str(options.api_server_count))
        name = f"twowire, {options.api_server_count} API servers"
        chosen.append(twowire(options.model, tuple(options.wires), *several, name=name))
    chosen += [another(text) for text in options.also]
    rounds = options.rounds or (1 if options.quick else 5)
    with ExitStack() as stack:
        if options.rust is not None:
            site = Path(stack.enter_context(TemporaryDirectory()))
            chosen.append(rust(options.model, options.rust.resolve(), site))
        running = []
        for one in chosen:
            # One after another: starting together, they would take each other's processors.
            running.append(stack.enter_context(started(one)))
            running[-1].wait_ready()
        found = measure(running, cases(options.streams, options.tokens, is_quick=options.quick), rounds)
    text = f"{chart(found)}\n{tables(found)}"
    print(text)
    results = options.results or (None if options.quick else RESULTS)
    if results is not None:
        kept = {"machine": machine(), "rounds": rounds, "measurements": found}
        results.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2) + b"\n")
    if not options.quick:
        write(DOCUMENT, text)


if __name__ == "__main__":
    main()
