"""What a request costs the API server: CPU time of answers of one token, beside another checkout's; prints Markdown.

    python -m bench.requests                          the counting engine of the tests: what is not vLLM's
    python -m bench.requests --beside ../before       and the checkout in that folder, in turn
    python -m bench.requests --real --vllm            the real engine, and vLLM's own server

The cases follow one another in every round, and the servers within each case: what else the machine does meets all.
A figure is the median of the rounds, with the smallest; a ratio is the median of each round's own. A burst is so many
connections that are made at once, with one request each; where it is said, the time is that to the first token.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.bodies import TURNS
from bench.processes import free_port
from bench.serve import Contender, Running, started, twowire, vllm
from bench.wires.choice import NAMES
from engine.config import GUIDE

ROUNDS = 5
AT_ONCE, BURST = 16, 256


@dataclass(frozen=True)
class Case:
    """Requests of one kind over one wire."""

    name: str
    wire: str
    streams: int
    total: int
    flags: tuple[str, ...] = ()


def cases(total: int, *, is_real: bool, has_vllm: bool = False) -> list[Case]:
    """All cases; what the chats ask for matters to the real engine alone.

    vLLM's own server answers 500 to answers of one token with tools or a schema, so it is not measured with them.
    """
    found = [Case("a question", wire, AT_ONCE, total) for wire in NAMES]
    found += [Case(f"a burst of {BURST}", wire, BURST, BURST, ("--burst",)) for wire in NAMES]
    if is_real:
        # As many dialogues as streams, so that each turn comes after the one before it.
        found += [
            Case(f"a turn of {TURNS}", wire, 1, total, ("--shape", "dialogue")) for wire in ("sse", "channel-one")
        ]
        shapes = () if has_vllm else ("tools", "schema")
        found += [Case(shape, "sse", AT_ONCE, total, ("--shape", shape)) for shape in shapes]
    return found


def counting(name: str) -> Contender:
    """This server with an engine that only counts, as fast as it is read."""
    port = free_port()
    command = [sys.executable, "-m", "tests.live.servers.fake_server", "serve", "--port", str(port), "--no-embeddings"]
    command += ["--max-num-seqs", "512", "--ws-max-running", "1024", "--ws-max-messages-per-s", "100000"]
    return Contender(name, command, port, NAMES, {"FAKE_PACE_S": "0"})


def contenders(options: argparse.Namespace) -> list[Contender]:
    """The servers to measure; the first is what the others are compared with."""
    folders = {"here": Path.cwd(), **{path.resolve().name: path.resolve() for path in options.beside}}
    found = []
    for name, folder in reversed(folders.items()):
        one = twowire(options.model, NAMES, name=name) if options.real else counting(name)
        # Python looks in the folder it is started in first.
        found.append(replace(one, folder=folder, environment=one.environment | {"PYTHONPATH": str(folder)}))
    return ([vllm(options.model)] if options.vllm else []) + found


def measure(running: list[Running], todo: list[Case], rounds: int) -> dict[Case, dict[str, list[tuple[float, float]]]]:
    """Milliseconds of CPU for each request, and to the first token, by case and contender; one pair per round."""
    found: dict[Case, dict[str, list[tuple[float, float]]]] = {case: {} for case in todo}
    for number in range(-1, rounds):
        for case in todo:
            for one in running:
                if case.wire not in one.contender.wires:
                    continue
                # The first round warms up.
                total = case.total if number >= 0 else case.streams
                figures = one.load(case.wire, case.streams, total, 1, *case.flags)
                pair = (figures["cpu_s"] / figures["total"] * 1e3, figures["first_ms_p50"])
                print(f"{number} {one.contender.name} {case}: {pair[0]:.3f} ms", file=sys.stderr)
                if number >= 0:
                    found[case].setdefault(one.contender.name, []).append(pair)
    return found


def table(found: dict[Case, dict[str, list[tuple[float, float]]]], names: list[str]) -> str:
    """A row for each case."""
    lines = ["| ms of CPU per request | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for case, by_name in found.items():
        reference = by_name.get(names[0])
        cells = []
        for name in names:
            pairs = by_name.get(name)
            if pairs is None:
                cells.append("")
                continue
            costs = [cost for cost, _ in pairs]
            cell = f"{statistics.median(costs):.2f} ({min(costs):.2f})"
            if reference is not None and name != names[0]:
                ratios = [cost / other for cost, (other, _) in zip(costs, reference, strict=True)]
                cell += f" **{statistics.median(ratios):.2f}**"
            if case.flags == ("--burst",):
                cell += f", {statistics.median(first for _, first in pairs):.0f} ms"
            cells.append(cell)
        lines.append(f"| {case.name}, {case.wire} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.requests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another checkout's folder")
    parser.add_argument("--real", action="store_true", help="with the real engine")
    parser.add_argument("--vllm", action="store_true", help="measure vLLM's own server, too")
    parser.add_argument("--model", type=Path, default=GUIDE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--wires", nargs="+", choices=NAMES, default=NAMES, help="all by default")
    parser.add_argument("--total", type=int, default=512, help="requests in one measurement")
    return parser


def main() -> None:
    """Measure, and print the table."""
    options = parser().parse_args()
    # So that the servers are ended, too, where this is.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    with ExitStack() as stack:
        running = []
        for one in contenders(options):
            # One after another: starting together, they would take each other's processors.
            running.append(stack.enter_context(started(one)))
            running[-1].wait_ready()
        every = cases(options.total, is_real=options.real, has_vllm=options.vllm)
        todo = [case for case in every if case.wire in options.wires]
        found = measure(running, todo, options.rounds)
    print(table(found, [one.contender.name for one in running]))


if __name__ == "__main__":
    main()
