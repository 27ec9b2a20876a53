"""The fuzz job: hostile connections of all kinds against one server, and what must hold meanwhile and afterwards."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.certificates import ROOT
from tests.fuzz.cases import Case
from tests.fuzz.connections import play
from tests.fuzz.requests import KINDS, MADE, SEQUENCES, ending, posted
from tests.fuzz.verdicts import complaints, statuses
from tests.live.servers.server import Server

LIMIT_S = 60.0
"""After this long a connection has hung."""
SETTLE_S = 30.0
BAD_WORDS = ("Traceback", '"level":"error"', '"level":"critical"')
REMEMBERED = 10
EMPTY = ("twowire_websockets", "twowire_sequences_in_engine", "twowire_open_streams", "twowire_texts_in_embedder")
"""Figures that come back to what they were."""


@dataclass
class Result:
    """What a run saw."""

    seed: int
    seconds: float = 0.0
    connections: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failed: list[Case] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What went wrong that belongs to no single connection."""
    slowest_ms: dict[str, float] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)
    """When the canary waited for too long: how long, and what was going on."""

    def failures(self) -> list[str]:
        """All of them in words; slow answers of the canary are none."""
        return [f"{case.name}: {', '.join(case.complaints)}" for case in self.failed] + self.problems


class Fuzz:
    """One run against a running server."""

    def __init__(self, server: Server, seed: int, *, canary_ms: float, folder: Path) -> None:
        self.result = Result(seed)
        self._server = server
        self._canary_ms = canary_ms
        self._folder = folder
        self._rng = random.Random(seed)
        self._under_way: set[Case] = set()
        self._last: deque[Case] = deque(maxlen=REMEMBERED)
        self._lines_seen = len(server.log)

    async def run(self, seconds: float, first: Iterable[Case] = ()) -> Result:
        """Play `first`, then random connections until the time is over; then look at what is left."""
        before = await asyncio.to_thread(self._figures)
        began_at = time.monotonic()
        async with self._canary():
            for case in first:
                await self._play(case, iter(case.sent), random.Random(case.name))
            await asyncio.gather(*(self._work(kind, seconds) for kind in KINDS))
        self.result.seconds = time.monotonic() - began_at
        if self._is_alive():
            await asyncio.to_thread(self._check_left, before)
        return self.result

    def _is_alive(self) -> bool:
        return self._server.process.poll() is None

    async def _work(self, kind: str, seconds: float) -> None:
        async with contextlib.AsyncExitStack() as stack:
            bodies = await stack.enter_async_context(self._made(kind)) if kind in MADE else None
            # What makes bodies takes its time to begin with; that counts for nothing.
            body = await anext(bodies) if bodies is not None else b""
            ends_at = time.monotonic() + seconds
            for number in itertools.count():
                left_s = ends_at - time.monotonic()
                if left_s <= 0 or not self._is_alive():
                    return
                name = f"{kind}-{self.result.seed}-{number}"
                rng = random.Random(name)
                chunks = iter([body]) if bodies is not None else SEQUENCES[kind](rng)
                await self._play(Case(kind, name, ending(kind, rng)), chunks, rng)
                if bodies is not None:
                    try:
                        async with asyncio.timeout(max(ends_at - time.monotonic(), 0)):
                            body = await anext(bodies)
                    except TimeoutError:
                        return

    async def _play(self, case: Case, chunks: Iterator[bytes], rng: random.Random) -> None:
        self._under_way.add(case)
        try:
            played = await play(self._server.port, chunks, case.ending, rng, LIMIT_S)
        except ConnectionRefusedError:
            if self._is_alive():
                case.complaints.append("the connection was refused")
                self._keep(case)
            return
        finally:
            self._under_way.discard(case)
            self._last.append(case)
        case.sent = played.sent
        self.result.connections[case.kind] += 1
        self.result.sent[case.kind] += sum(map(len, played.sent))
        self.result.statuses[case.kind].update(statuses(played))
        if found := complaints(case.kind, played):
            case.complaints += found
            self._keep(case)
        await self._look_at_the_log()
        if not self._is_alive():
            self._blame("the server died")

    async def _look_at_the_log(self) -> None:
        new = self._server.log[self._lines_seen :]
        self._lines_seen += len(new)
        for line in new:
            if any(word in line for word in BAD_WORDS):
                self._blame(f"while it ran, or just after, the log said: {line.strip()[:1000]}")

    def _blame(self, complaint: str) -> None:
        """Something happened that may be due to each of the connections of now: keep them all."""
        self.result.problems.append(complaint)
        for case in [*self._under_way, *self._last]:
            if case.sent and complaint not in case.complaints:
                case.complaints.append(complaint)
                case.save(self._folder)

    def _keep(self, case: Case) -> None:
        self.result.failed.append(case)
        file = case.save(self._folder)
        print(f"{case.name}: {', '.join(case.complaints)}; kept as {file}", flush=True)

    # -- beside the connections ----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _made(self, kind: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Requests from the process that makes them."""
        command = ("-m", "tests.fuzz.bodies", kind, str(self.result.seed))
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=1 << 26
        )
        assert process.stdout is not None
        lines = process.stdout

        async def made() -> AsyncIterator[bytes]:
            while line := await lines.readline():
                path, body = line.split()
                yield posted(path.decode(), base64.b64decode(body))
            raise RuntimeError(f"the process that makes {kind} has ended")

        try:
            yield made()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # To its end, or its pipe is left open.
            await process.communicate()

    @asynccontextmanager
    async def _canary(self) -> AsyncIterator[None]:
        command = ("-m", "tests.fuzz.canary", self._server.url, str(self._canary_ms))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdin=pipe, stdout=pipe)
        assert process.stdin is not None
        assert process.stdout is not None
        listening = asyncio.create_task(self._listen(process.stdout))
        try:
            yield
        finally:
            process.stdin.close()
            await listening
            await process.wait()

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            told = json.loads(line)
            if "slowest_ms" in told:
                self.result.slowest_ms = told["slowest_ms"]
                continue
            meanwhile = ", ".join(case.name for case in [*self._under_way, *itertools.islice(reversed(self._last), 3)])
            words = f"{told['what']} took {told['ms']:.0f} ms {told['problem'] or ''}; meanwhile: {meanwhile}"
            if told["problem"] and self._is_alive():
                self.result.problems.append(f"the canary: {words}")
            else:
                self.result.slow.append(words)

    # -- what is left --------------------------------------------------------------------------------------------------

    def _figures(self) -> dict[str, float]:
        figures = {name: self._server.metric(name) for name in (*EMPTY, "twowire_engine_restarts")}
        # One that asks is open itself.
        figures["connections"] = float(len(self._connections()))
        figures["twowire_asyncio_tasks"] = self._server.metric("twowire_asyncio_tasks")
        return figures

    def _connections(self) -> list[int]:
        found = psutil.Process(self._server.process.pid).net_connections(kind="tcp")
        ours = [one for one in found if one.laddr.port == self._server.port and one.raddr]
        return [one.raddr.port for one in ours if one.status == psutil.CONN_ESTABLISHED]

    def _check_left(self, before: dict[str, float]) -> None:
        """Nothing may be held for those who are gone."""
        deadline = time.monotonic() + SETTLE_S
        while grown := {name: now for name, now in self._figures().items() if now > before[name]}:
            if time.monotonic() > deadline:
                self.result.problems += [
                    f"{name}: {before[name]:g} before, {now:g} after" for name, now in grown.items()
                ]
                return
            time.sleep(0.2)  # Between two questions, not in place of one.
