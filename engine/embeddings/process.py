"""The embedder's process, seen from the server: started, spoken to, watched and ended.

Does not know models, nor how a process is replaced (`engine.embeddings.manager` does). The process is a plain child of
the server, not one of multiprocessing's, because those count as vLLM's (`engine.processes.children`). A request goes to
it in slices, a few at a time: so a huge one neither fills its memory nor stands in the way of others, and can be left
at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import psutil
import structlog

from engine.api import EngineStartError, StageReport
from engine.embeddings.api import Embedded, EmbedderConfig, Job, ModelCard
from engine.processes import messages
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

SLICE_TEXTS = 64
SLICE_CHARS = 64 * 1024
SLICES_AHEAD = 4
"""Slices of one request that are in the process at a time: enough to choose batches from."""
STOP_S = 2.0
_BEAT = "a"
"""The text of a heartbeat."""

Slice = tuple[int, int]
"""A part of a job's texts: from, to."""


async def start_embedder(config: EmbedderConfig, report: StageReport) -> EmbedderProcess:
    """Start the process and wait until its models are loaded.

    Raises `EngineStartError` for a wrong configuration, RuntimeError where the process ended.
    """
    ours, theirs = socket.socketpair()
    try:
        child = _started(config, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        cards = await _cards(reader, report)
    except BaseException:
        _kill(child)
        ours.close()
        raise
    return EmbedderProcess(child, reader, writer, cards)


def _started(config: EmbedderConfig, theirs: socket.socket) -> subprocess.Popen[bytes]:
    number = theirs.fileno()
    environment = dict(os.environ)
    if config.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(config.threads), "RAYON_NUM_THREADS": str(config.threads)}
    # A thread that waits for work must not keep a core from vLLM by asking for it again and again. But between two
    # steps of one text it waits for some microseconds only, and to put it to sleep and wake it costs as much as the
    # step: so it asks for that long (one short text: 5 ms instead of 12; libgomp reads the second, others the first).
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000", "TOKENIZERS_PARALLELISM": "true"}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-m", "engine.embeddings.worker", str(number), _as_json(config)]
    # In a process group of its own, so that Ctrl+C reaches the server alone, which lets running requests finish.
    return subprocess.Popen(
        command, env=environment, pass_fds=(number,), stdin=subprocess.DEVNULL, stdout=2, process_group=0
    )


def _as_json(config: EmbedderConfig) -> str:
    return orjson.dumps({**dataclasses.asdict(config), "models": dict(config.models)}).decode()


async def _cards(reader: asyncio.StreamReader, report: StageReport) -> dict[str, ModelCard]:
    while (message := await messages.read(reader)) is not None:
        header = message[0]
        match header["type"]:
            case "stage":
                report(header["stage"])
            case "failed" if header["configured"]:
                raise EngineStartError(header["reason"])
            case "failed":
                raise RuntimeError(header["reason"])
            case _:
                return {name: _card(**fields) for name, fields in header["cards"].items()}
    raise RuntimeError("the embedder's process ended while it started")


def _card(**fields: Any) -> ModelCard:
    """As it was in the process; JSON makes lists of its tuples."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return ModelCard(**plain)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    child.wait()


class _Run:
    """A job that is being done."""

    def __init__(self, number: int, job: Job, client: str) -> None:
        self.name = f"{number:x}"
        self.job = job
        self.client = client
        self.result = Embedded([b""] * len(job.texts))
        self.missing = len(job.texts)
        self.ended: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        self.slices = _slices(job)
        self.under_way: set[int] = set()

    def fail(self, error: TwowireError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


def _slices(job: Job) -> itertools.chain[Slice]:
    def cut() -> Any:
        first, chars, beside = 0, 0, len(job.query or "")
        for place, text in enumerate(job.texts):
            chars += len(text) + beside
            if place + 1 - first == SLICE_TEXTS or chars >= SLICE_CHARS:
                yield first, place + 1
                first, chars = place + 1, 0
        if first < len(job.texts):
            yield first, len(job.texts)

    return itertools.chain(cut())


class EmbedderProcess:
    """A running process, as `engine.embeddings.manager` wants it."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cards: Mapping[str, ModelCard],
    ) -> None:
        self.cards = cards
        self.has_machine: Callable[[], bool] = lambda: True
        self._child = child
        self._reader = reader
        self._writer = writer
        self._messages = self._computed = 0
        self._cpu = psutil.Process(child.pid)
        self._numbers = itertools.count()
        self._runs: set[_Run] = set()
        self._slices: dict[int, tuple[_Run, Slice, list[int]]] = {}
        self._answers: dict[str, Callable[[dict[str, Any], bytes], None]] = {
            "done": self._done,
            "too_long": self._too_long,
            "broken": self._broken,
        }
        self._reading = asyncio.create_task(self._read(), name="embedder-reader")

    async def run(self, job: Job, client: str) -> Embedded:
        run = _Run(next(self._numbers), job, client)
        if self._reading.done():
            raise _died()
        self._runs.add(run)
        try:
            for _ in range(SLICES_AHEAD):
                self._send_slice(run)
            return await run.ended
        finally:
            self._runs.discard(run)
            if run.missing and not self._reading.done():
                self._send({"type": "cancel", "request": run.name, "client": run.client})
            for number in run.under_way:
                del self._slices[number]

    def _send(self, header: dict[str, Any]) -> None:
        self._writer.write(messages.encoded(header))

    def _send_slice(self, run: _Run) -> None:
        part = next(run.slices, None)
        if part is None:
            return
        number, job = next(self._numbers), run.job
        self._slices[number] = (run, part, [part[1] - part[0]])
        run.under_way.add(number)
        wanted = {name: getattr(job, name) for name in _WANTED}
        self._send(
            {
                "type": "embed",
                "slice": number,
                "request": run.name,
                "client": run.client,
                "model": job.model,
                "texts": job.texts[part[0] : part[1]],
                "wanted": wanted,
                "has_machine": self.has_machine(),
            }
        )

    async def _read(self) -> None:
        while (message := await messages.read(self._reader)) is not None:
            header, tail = message
            self._messages += 1
            self._answers[header["type"]](header, tail)
        for run in self._runs:
            run.fail(_died())

    def _done(self, header: dict[str, Any], tail: bytes) -> None:
        begin = 0
        for number, place, tokens, size in header["parts"]:
            piece, begin = tail[begin : begin + size], begin + size
            found = self._slices.get(number)
            if found is None:  # Its client has left.
                continue
            run, part, left = found
            run.result.pieces[part[0] + place] = piece
            run.result.tokens += tokens
            run.missing -= 1
            left[0] -= 1
            if not left[0]:
                del self._slices[number]
                run.under_way.discard(number)
                self._send_slice(run)
            if not run.missing and not run.ended.done():
                run.ended.set_result(run.result)

    def _too_long(self, header: dict[str, Any], tail: bytes) -> None:
        found = self._slices.get(header["slice"])
        if found is not None:
            run, part, _ = found
            limit = self.cards[run.job.model].max_tokens
            place = part[0] + header["place"]
            run.fail(_too_long(run.job, place, header["tokens"], limit))

    def _broken(self, header: dict[str, Any], tail: bytes) -> None:
        log.error("embedding_failed", reason=header["reason"])
        for number in header["slices"]:
            if number in self._slices:
                self._slices[number][0].fail(TwowireError(Fault.INTERNAL, "The embedder failed; the log says why."))

    @property
    def steps_taken(self) -> int:
        """The messages it has sent, plus the processor time it has used, in hundredths of a second.

        With the least priority, beside busy chats, a batch may take minutes; but a process that computes does not hang.
        """
        with contextlib.suppress(psutil.Error):
            times = self._cpu.cpu_times()
            self._computed = round(100 * (times.user + times.system))
        return self._messages + self._computed

    @property
    def is_busy(self) -> bool:
        return bool(self._runs)

    async def heartbeat(self) -> None:
        name, card = next(iter(self.cards.items()))
        await self.run(Job(name, [_BEAT], query=_BEAT if card.kind == "reranker" else None), "")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    async def wait_dead(self) -> str:
        await asyncio.wait({self._reading})
        return "its process ended unexpectedly"

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        for run in self._runs:
            run.fail(_died())
        # The process ends when its socket does.
        self._writer.close()
        try:
            await asyncio.to_thread(self._child.wait, STOP_S)
        except subprocess.TimeoutExpired:
            self._child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(self._child.wait)


_WANTED = ("query", "truncate", "base64", "dimensions", "normalize", "prompt_name", "task")
"""What `engine.embeddings.models.Wanted` holds of a job."""


def _died() -> TwowireError:
    return TwowireError(
        Fault.ENGINE_DIED, "The embedder died while it computed; the request may be tried again.", retry_after_s=5
    )


def _too_long(job: Job, place: int, tokens: int, limit: int) -> TwowireError:
    if job.query is not None:
        param = f"documents[{place}]"
        what, option = f"The query and {param} are together", ""
    else:
        param = f"input[{place}]" if job.is_list else "input"
        what, option = f"{param} is", ", or start the server with --embedding-truncate end"
    return TwowireError(
        Fault.CONTEXT_LENGTH_EXCEEDED,
        f'{what} {tokens} tokens or more; the model reads {limit}. Shorten it, or send truncate: "end"{option}.',
        param=param,
    )
