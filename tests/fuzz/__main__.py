"""Runs the fuzz job against a server that it starts; `make fuzz`.

Prints Markdown. The exit code is 1 where something was found; a slow answer of the canary counts with --strict alone,
because on a machine that is busy with other things it says nothing of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

import psutil

from tests.certificates import ROOT
from tests.fuzz.cases import CORPUS, load
from tests.fuzz.job import Fuzz, Result
from tests.live.servers.server import START_TIMEOUT_S, Server, start_fake_server, start_server, stop_server

FOLDER = ROOT / "fuzz-failures"
MAX_SHOWN = 20


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    made.add_argument("--seconds", type=float, default=600.0)
    made.add_argument("--seed", type=int, help="of an earlier run; a new one where it is left out")
    made.add_argument("--fake", action="store_true", help="an engine that only counts, in place of the real one")
    made.add_argument("--canary-ms", type=float, default=300.0, help="an answer of /livez that takes longer is shown")
    made.add_argument("--strict", action="store_true", help="fail where an answer was slower; for idle machines")
    made.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="play these alone: see fuzz-failures/")
    made.add_argument("flags", nargs="*", help="for the server, after --")
    return made


def main() -> int:
    options = parser().parse_args()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    server = started(options.flags, is_fake=options.fake)
    try:
        memory = rss_mib(server)
        fuzz = Fuzz(server, seed, canary_ms=options.canary_ms, folder=FOLDER)
        files = options.replay or sorted(CORPUS.glob("*.json"))
        seconds = 0.0 if options.replay else options.seconds
        result = asyncio.run(fuzz.run(seconds, [load(file) for file in files]))
        grown = (memory, rss_mib(server)) if server.process.poll() is None else (memory, 0.0)
    finally:
        code = stop_server(server)
    if code != 0:
        result.problems.append(f"the server's exit code: {code}")
    print(report(result, grown))
    return 1 if result.failures() or (options.strict and result.slow) else 0


def started(flags: list[str], *, is_fake: bool) -> Server:
    """A server that can answer; with the real engine, also for embeddings."""
    if is_fake:
        return start_fake_server("--log-format", "json", *flags)
    server = start_server("--log-format", "json", "--embeddings", *flags)
    if "--no-embeddings" not in flags:
        server.wait_until(
            lambda: server.metric("twowire_embedder_state", state="ready") == 1, START_TIMEOUT_S, "no embedder"
        )
    return server


def rss_mib(server: Server) -> float:
    """The memory of the process that listens."""
    return psutil.Process(server.process.pid).memory_info().rss / 2**20


def report(result: Result, memory_mib: tuple[float, float]) -> str:
    """What was done and found, as Markdown."""
    rows = ["| Kind | Connections | MB sent | Statuses |", "|---|---:|---:|---|"]
    for kind, count in sorted(result.connections.items()):
        seen = ", ".join(f"{status} ({number})" for status, number in sorted(result.statuses[kind].items()))
        rows.append(f"| {kind} | {count} | {result.sent[kind] / 1e6:.1f} | {seen} |")
    slowest = ", ".join(f"{what} {ms:.0f} ms" for what, ms in result.slowest_ms.items())
    failures = result.failures()
    parts = [
        f"{sum(result.connections.values())} connections in {result.seconds:.0f} s, seed {result.seed}\n",
        *rows,
        f"\nSlowest answers to the canary: {slowest}.",
        *_shown("slower than asked for", result.slow),
        f"Memory: {memory_mib[0]:.0f} MiB before, {memory_mib[1]:.0f} after.\n",
        *(_shown("problems", failures) or ["**No problems.**"]),
    ]
    return "\n".join(parts)


def _shown(what: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    rest = [f"- and {len(lines) - MAX_SHOWN} more"] if len(lines) > MAX_SHOWN else []
    return [f"\n**{len(lines)} {what}:**\n", *(f"- {line}" for line in lines[:MAX_SHOWN]), *rest, ""]


if __name__ == "__main__":
    sys.exit(main())
