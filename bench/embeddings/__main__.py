"""Measures embeddings: this server beside a textbook one and infinity, and what they cost the chats.

    python -m bench.embeddings throughput --texts short --infinity ENV/bin/infinity_emb
    python -m bench.embeddings pace

Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import httpx
import psutil

from bench.embeddings.load import Client, chat_gaps
from bench.processes import free_port, process_of, wait_answer
from engine.registry import bundled_embedding_model

CLIENTS = (1, 8, 64)
MODEL = "all-MiniLM-L6-v2"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "you",
    "that",
    "it",
    "he",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
    "his",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
]


@dataclass(frozen=True)
class Contender:
    """A server: the name it is shown by, its command, and what makes it ready."""

    name: str
    command: list[str]
    port: int
    model: str = MODEL
    environment: dict[str, str] = field(default_factory=dict)


def make_texts(kind: str) -> list[str]:
    """Short: 6 to 12 words, a question's length. Mixed: 4 to 180, like the passages of a search index."""
    rng = random.Random(7)
    longest = 12 if kind == "short" else 180
    lengths = [rng.randint(6, 12) if kind == "short" else int(4 * (longest / 4) ** rng.random()) for _ in range(997)]
    return [" ".join(rng.choices(WORDS, k=length)) for length in lengths]


def contenders(options: argparse.Namespace) -> list[Contender]:
    threads = str(options.threads)
    folder = str(bundled_embedding_model())
    limits = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1"}
    found = []
    for kind in options.textbook:
        port = free_port()
        command = [sys.executable, "-m", "bench.embeddings.textbook", folder, str(port), threads, kind]
        found.append(Contender(f"textbook ({kind})", command, port, environment=limits))
    if options.infinity:
        port = free_port()
        command = [options.infinity, "v2", "--model-id", folder, "--served-model-name", MODEL, "--port", str(port)]
        command += ["--device", "cpu", "--engine", "torch", "--dtype", "float32", "--no-bettertransformer"]
        command += ["--url-prefix", "/v1", "--host", "127.0.0.1", "--batch-size", "64"]
        quiet = {"INFINITY_LOG_LEVEL": "error", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
        found.append(Contender("infinity", command, port, environment=limits | quiet))
    found.append(ours(options))
    return found


def ours(options: argparse.Namespace) -> Contender:
    port = free_port()
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--log-level", "warning"]
    command += ["--embedding-threads", str(options.threads), *options.ours]
    return Contender("twowire", command, port)


def wait_ready(one: Contender, process: subprocess.Popen[bytes]) -> None:
    """Until it answers a request for a vector."""
    url, body = f"http://127.0.0.1:{one.port}/v1/embeddings", {"model": one.model, "input": "hi"}
    wait_answer(one.name, process, lambda: httpx.post(url, json=body, timeout=30))


class Others:
    """What all processes but ours took of the processors, in cores, since it was made."""

    def __init__(self) -> None:
        self._begun, self._since = self._theirs(), time.monotonic()

    def _theirs(self) -> float:
        machine = psutil.cpu_times()
        everything = sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice
        me = psutil.Process()
        mine = 0.0
        for process in (me, *me.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                mine += times.user + times.system
        return float(everything - mine)

    def cores(self) -> float:
        return (self._theirs() - self._begun) / (time.monotonic() - self._since)


@dataclass
class Run:
    """What one contender did in one go."""

    texts_per_s: float
    p50_ms: float
    p95_ms: float
    others: float = 0.0


async def hammer(port: int, model: str, clients: int, texts: list[str], seconds: float) -> Run:
    """So many clients, each with one connection and one text at a time, for some seconds."""
    took: list[float] = []
    stop_at = time.monotonic() + seconds

    async def ask(number: int) -> None:
        rng = random.Random(number)
        async with Client(port, "/v1/embeddings") as client:
            while (begun := time.monotonic()) < stop_at:
                await client.post({"model": model, "input": rng.choice(texts), "encoding_format": "base64"})
                took.append(time.monotonic() - begun)

    begun, others = time.monotonic(), Others()
    await asyncio.gather(*(ask(number) for number in range(clients)))
    elapsed = time.monotonic() - begun
    marks = statistics.quantiles(took, n=20) if len(took) > 1 else took * 19
    return Run(len(took) / elapsed, statistics.median(took) * 1e3, marks[18] * 1e3, others.cores())


def throughput(options: argparse.Namespace) -> None:
    texts = make_texts(options.texts)
    everybody = contenders(options)
    found: dict[tuple[str, int], list[Run]] = {}
    with ExitStack() as stack:
        starting = [(one, stack.enter_context(process_of(one.command, one.environment))) for one in everybody]
        for one, process in starting:
            wait_ready(one, process)
        for number in range(-1, options.rounds):
            for clients in CLIENTS:
                for one in everybody:
                    # The first round is for warming up.
                    seconds = options.seconds if number >= 0 else 1.0
                    run = asyncio.run(hammer(one.port, one.model, clients, texts, seconds))
                    print(f"{number} {clients} {one.name}: {run}", file=sys.stderr, flush=True)
                    if number >= 0:
                        found.setdefault((one.name, clients), []).append(run)
    print(f"{options.texts} texts, {options.threads} threads, medians of {options.rounds} rounds\n")
    print("| Clients | Server | Texts/s | p50 ms | p95 ms | others' cores |\n|---|---|---|---|---|---|")
    for clients in CLIENTS:
        for one in everybody:
            runs = found[one.name, clients]
            cells = (statistics.median(getattr(run, name) for run in runs) for name in Run.__dataclass_fields__)
            print(f"| {clients} | {one.name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def pace(options: argparse.Namespace) -> None:
    texts = make_texts("short")
    one = ours(options)
    rows: dict[str, list[list[float]]] = {"without": [], "with": []}
    rates: list[float] = []

    async def measure(with_embeddings: bool) -> None:
        chats = asyncio.create_task(chat_gaps(one.port, options.chat_model, 8, options.seconds))
        others = Others()
        if with_embeddings:
            run = await hammer(one.port, MODEL, 64, texts, options.seconds)
            rates.append(run.texts_per_s)
        gaps = await chats
        p95_ms = statistics.quantiles(gaps, n=100)[94] * 1e3
        print(f"{with_embeddings}: p95 {p95_ms:.1f} ms, others {others.cores():.2f} cores", file=sys.stderr, flush=True)
        rows["with" if with_embeddings else "without"].append(gaps)

    with process_of(one.command, one.environment) as process:
        wait_ready(one, process)
        asyncio.run(measure(False))
        rows["without"].clear()
        for _ in range(options.rounds):
            for with_embeddings in (False, True):
                asyncio.run(measure(with_embeddings))
    print(f"8 chats, {options.threads} threads for embeddings {options.ours}, medians of {options.rounds} rounds\n")
    print("| 64 embedding clients | Tokens/s | gap p50 ms | p95 ms | p99 ms | Texts/s |\n|---|---|---|---|---|---|")
    for name, runs in rows.items():
        marks = [statistics.quantiles(gaps, n=100) for gaps in runs]
        cells = [statistics.median(len(gaps) / options.seconds for gaps in runs)]
        cells += [statistics.median(mark[place] for mark in marks) * 1e3 for place in (49, 94, 98)]
        cells.append(statistics.median(rates) if name == "with" else 0.0)
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.embeddings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("throughput", "pace"))
    parser.add_argument("--texts", choices=("short", "mixed"), default="short")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--infinity", help="the program infinity_emb, in an environment of its own")
    parser.add_argument("--textbook", nargs="+", default=["async"], choices=("async", "threads"))
    parser.add_argument("--chat-model", default="guide")
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[], help="further options of twowire; the last")
    return parser


def main() -> None:
    options = parser().parse_args()
    # So that the servers are ended, too, where this is.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    {"throughput": throughput, "pace": pace}[options.what](options)


if __name__ == "__main__":
    main()
