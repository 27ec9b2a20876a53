"""Mixed traffic on all wires for some minutes, an engine that is killed on the way, and what is left at the end.

    python -m bench.soak --minutes 20
    python -m bench.soak --minutes 1 --engine counting

Prints Markdown; the exit code is 1 where something was lost, left behind, or grew.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import itertools
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx

from bench.soak.attacks import Attacker
from bench.soak.channel import ChannelClient
from bench.soak.http import HttpClient
from bench.soak.http2 import ResettingClient
from bench.soak.ledger import Ledger, Window
from bench.soak.raw import RawClient
from bench.soak.report import report
from bench.soak.server import Sample, SoakServer

CLIENT_LIMIT_S = 180.0
"""No client waits longer for anything; an engine that starts again takes a part of it."""
SAMPLE_EVERY_S = 1.0
SETTLE_S = 60.0
MAX_GROWTH, MAX_GROWTH_WHEN_SHORT = 1.05, 1.3
SHORT_MINUTES = 4.0
"""A process that has run for less is still growing into its caches."""
KILL_AT, LEVEL_AT, LEVEL_TO = 0.2, 0.5, 0.6
"""Parts of the whole time: when the engine is killed, and between which the memory's level is taken."""
BACK_OFF_S = 0.2

Act = Callable[[], Awaitable[None]]


class Soak:
    """One soak of a running server."""

    def __init__(self, server: SoakServer, options: argparse.Namespace) -> None:
        self.ledger = Ledger()
        self.samples: list[Sample] = []
        self.server = server
        self._options = options
        self._rng = random.Random(options.seed)
        self._ends_at = 0.0

    async def run(self) -> None:
        """All clients, until the time is over and each has done what it had begun."""
        first = await asyncio.to_thread(self.server.sample)
        self.samples.append(first)
        seconds = self._options.minutes * 60
        self._ends_at = first.at + seconds
        async with AsyncExitStack() as stack:
            acts = [act for number in range(self._options.clients) for act in await self._acts(stack, number)]
            workers = [asyncio.create_task(self._work(act)) for act in acts]
            watching = asyncio.create_task(self._watch())
            await asyncio.sleep(seconds * KILL_AT)  # The traffic's time, not a wait.
            await self._kill()
            await asyncio.gather(*workers)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _acts(self, stack: AsyncExitStack, number: int) -> list[list[Act]]:
        """What the clients of one round do; each list is one client, which takes turns."""
        https = []
        for name, is_two in (("HTTP/1.1", False), ("HTTP/2", True)):
            fresh = functools.partial(self._http, is_two=is_two)
            http = await stack.enter_async_context(fresh())
            https.append(HttpClient(self.ledger, fresh, http, self._fork(), name))
        http1, http2 = https
        channel = ChannelClient(self.ledger, self._fork(), "channel", self.server.port, http2)
        acts: list[list[Act]] = []
        for client in https:
            acts.append([client.whole_stream, client.whole_answer, client.wrong])
            acts.append([client.left_stream, client.left_answer, client.resumed, client.cancelled])
        raw = RawClient(self.ledger, self._fork(), self.server.port)
        resetting = ResettingClient(self.ledger, self._fork(), self.server.port)
        acts += [[raw.slow, raw.half], [raw.stuck], [resetting.neighbours]]
        attacker = Attacker(self.ledger, http1.http, self._fork(), self.server.port)
        acts += [[attacker.schemas, attacker.brackets, attacker.pages, attacker.tickets], [attacker.flood]]
        acts += [[channel.many], [channel.lost, channel.taken_over], [channel.stuck]]
        if self._options.embeddings:
            acts += [[http1.embeddings, http2.embeddings, http1.embeddings_left]]
        return acts

    def _http(self, *, is_two: bool) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(
            base_url=self.server.url, http1=not is_two, http2=is_two, timeout=CLIENT_LIMIT_S, limits=limits
        )

    def _fork(self) -> random.Random:
        return random.Random(self._rng.random())

    async def _work(self, acts: list[Act]) -> None:
        """Do one act after another until the time is over, and each at least once."""
        for number, act in enumerate(itertools.cycle(acts)):
            if number >= len(acts) and time.monotonic() >= self._ends_at:
                return
            name = getattr(act, "__name__", "?")
            try:
                async with asyncio.timeout(CLIENT_LIMIT_S):
                    await act()
            except Exception as error:
                self.ledger.problem(f"{name} was broken off: {type(error).__name__}", error)
            if self.ledger.windows and self.ledger.windows[-1].ended_at == float("inf"):
                await asyncio.sleep(BACK_OFF_S)  # As clients do that get a 503.

    async def _watch(self) -> None:
        while True:
            self.samples.append(await asyncio.to_thread(self.server.sample))
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _kill(self) -> None:
        restarts = (await asyncio.to_thread(self.server.metrics))["twowire_engine_restarts"]
        window = Window(time.monotonic())
        self.ledger.windows.append(window)
        self.server.kill_engine()

        def is_replaced() -> bool:
            return self.server.metrics()["twowire_engine_restarts"] > restarts and self.server.is_ready()

        await asyncio.to_thread(self.server.wait, is_replaced, CLIENT_LIMIT_S, "the engine did not come back")
        window.ended_at = time.monotonic()

    def check(self) -> None:
        """What is left, what grew, and whether everybody tells the same."""
        try:
            self.server.wait(lambda: not self.server.left_over(), SETTLE_S, "something was left")
        except TimeoutError:
            self.ledger.problem("something was left behind", self.server.left_over())
        first = self.samples[0]
        try:
            self.server.wait(lambda: self.server.sample().tasks <= first.tasks, SETTLE_S, "tasks were left")
        except TimeoutError:
            self.ledger.problem("tasks were left behind", f"{first.tasks} before, {self.server.sample().tasks} after")
        self.samples.append(self.server.sample())
        level, end = self.levels()
        # A busy end's memory has been released by now; a leak has not.
        if min(end, self.samples[-1].rss_mib) > level * (
            MAX_GROWTH if self._options.minutes >= SHORT_MINUTES else MAX_GROWTH_WHEN_SHORT
        ):
            self.ledger.problem("the memory has grown", f"from {level:.0f} to {end:.0f} MiB")
        try:
            self.server.wait(self._all_logged, SETTLE_S, "the log is behind")
        except TimeoutError:
            pass  # The check says what is missing.
        self.ledger.check(self.server.request_lines(), self.server.requests())
        for line in self.server.lines:
            if line["level"] in ("error", "critical"):
                self.ledger.problem(f"the server logged an error: {line['event']}", line)

    def _all_logged(self) -> bool:
        """Whether every counted request has its log line: lines come through a pipe, later than the metrics."""
        return len(self.server.request_lines()) >= self.server.requests().total()

    def levels(self) -> tuple[float, float]:
        """The memory after the first part of the time, and that at the end, in MiB."""
        return self._level(LEVEL_AT, LEVEL_TO), self._level(0.9, 1.0)

    def _level(self, begin: float, end: float) -> float:
        """The median memory in a part of the run, or the nearest sample if a busy server gave none."""
        first, whole = self.samples[0].at, self._ends_at - self.samples[0].at
        begin, end = first + begin * whole, first + end * whole
        between = [one.rss_mib for one in self.samples if begin <= one.at <= end]
        return statistics.median(between or [min(self.samples, key=lambda one: abs(one.at - end)).rss_mib])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--engine", choices=("real", "counting"), default="real")
    parser.add_argument("--embeddings", action="store_true", help="ask for embeddings, too")
    parser.add_argument("--clients", type=int, default=2, help="how many of each kind of client there are")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("flags", nargs="*", help="for the server, after --")
    options = parser.parse_args()
    server = SoakServer(options.engine, embeddings=options.embeddings, flags=options.flags)
    try:
        server.wait_ready(embeddings=options.embeddings)
        soak = Soak(server, options)
        asyncio.run(soak.run())
        soak.check()
        counted = server.requests()
    finally:
        code = server.stop()
    if code != 0:
        soak.ledger.problem("the server's exit code", code)
    print(report(soak.ledger, soak.samples, soak.levels(), counted))
    return 1 if soak.ledger.problems else 0


if __name__ == "__main__":
    sys.exit(main())
