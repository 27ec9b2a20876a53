"""Starts the embedder's process, sends it jobs, watches it and ends it.

The process is a plain child, not one of multiprocessing's: those count as vLLM's (`engine.processes.children`). A job
is sent in slices, a few at a time, so that a huge one neither fills the process's memory nor blocks others, and can be
cancelled at any time.

The two speak over an inherited socket pair: no other user can connect, and either side's death is an end of file.
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
from engine.embeddings.running_job import RunningJob, Slice
from engine.processes import messages
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

SLICES_AHEAD = 4
"""Slices of one job in the process at a time: enough to choose batches from."""
STOP_S = 2.0
_HEARTBEAT_TEXT = "a"


async def start_embedder(config: EmbedderConfig, report: StageReport) -> EmbedderProcess:
    """Start the process and wait until its models are loaded.

    Raises `EngineStartError` for a wrong configuration, RuntimeError if the process ends.
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
    # A thread that waits for work must not spin, which would take a core from vLLM. But between two steps of one text
    # it waits for microseconds, and sleeping and waking cost as much as a step: so it spins that long (one short text:
    # 5 ms instead of 12). libgomp reads the second variable, other libraries the first.
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000", "TOKENIZERS_PARALLELISM": "true"}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-m", "engine.embeddings.worker", str(number), _as_json(config)]
    # A process group of its own: Ctrl+C must reach only the server, which lets running requests finish.
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
    raise RuntimeError("the embedder's process ended during its start")


def _card(**fields: Any) -> ModelCard:
    """The card as the process sent it; JSON turned its tuples into lists."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return ModelCard(**plain)


def _kill(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    child.wait()


class EmbedderProcess:
    """A running process: an `EmbedderBackend`."""

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
        self._jobs: set[RunningJob] = set()
        self._slices: dict[int, tuple[RunningJob, Slice, list[int]]] = {}
        """By number: the job, its slice, and how many of its texts are missing."""
        self._answers: dict[str, Callable[[dict[str, Any], bytes], None]] = {
            "done": self._done,
            "too_long": self._too_long,
            "broken": self._broken,
        }
        self._reading = asyncio.create_task(self._read(), name="embedder-reader")

    async def run(self, job: Job, client: str) -> Embedded:
        running = RunningJob(next(self._numbers), job, client)
        if self._reading.done():
            raise _died()
        self._jobs.add(running)
        try:
            for _ in range(SLICES_AHEAD):
                self._send_slice(running)
            return await running.ended
        finally:
            self._jobs.discard(running)
            if running.missing and not self._reading.done():
                self._send({"type": "cancel", "request": running.name, "client": running.client})
            for number in running.in_flight:
                del self._slices[number]

    def _send(self, header: dict[str, Any]) -> None:
        self._writer.write(messages.encoded(header))

    def _send_slice(self, running: RunningJob) -> None:
        part = next(running.slices, None)
        if part is None:
            return
        number, job = next(self._numbers), running.job
        self._slices[number] = (running, part, [part[1] - part[0]])
        running.in_flight.add(number)
        wanted = {name: getattr(job, name) for name in _WANTED}
        self._send(
            {
                "type": "embed",
                "slice": number,
                "request": running.name,
                "client": running.client,
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
        for running in self._jobs:
            running.fail(_died())

    def _done(self, header: dict[str, Any], tail: bytes) -> None:
        begin = 0
        for number, place, tokens, size in header["parts"]:
            piece, begin = tail[begin : begin + size], begin + size
            found = self._slices.get(number)
            if found is None:  # The job was cancelled.
                continue
            running, part, left = found
            running.result.pieces[part[0] + place] = piece
            running.result.tokens += tokens
            running.missing -= 1
            left[0] -= 1
            if not left[0]:
                del self._slices[number]
                running.in_flight.discard(number)
                self._send_slice(running)
            if not running.missing and not running.ended.done():
                running.ended.set_result(running.result)

    def _too_long(self, header: dict[str, Any], tail: bytes) -> None:
        found = self._slices.get(header["slice"])
        if found is not None:
            running, part, _ = found
            limit = self.cards[running.job.model].max_tokens
            running.fail(_too_long(running.job, part[0] + header["place"], header["tokens"], limit))

    def _broken(self, header: dict[str, Any], tail: bytes) -> None:
        log.error("embedding_failed", reason=header["reason"])
        for number in header["slices"]:
            if number in self._slices:
                self._slices[number][0].fail(
                    TwowireError(Fault.INTERNAL, "The embedder failed; the server's log says why.")
                )

    @property
    def steps_taken(self) -> int:
        """The messages it has sent plus the CPU time it has used, in hundredths of a second.

        At the lowest priority, beside busy chats, a batch may take minutes; but a process that computes does not hang.
        """
        with contextlib.suppress(psutil.Error):
            times = self._cpu.cpu_times()
            self._computed = round(100 * (times.user + times.system))
        return self._messages + self._computed

    @property
    def is_busy(self) -> bool:
        return bool(self._jobs)

    async def heartbeat(self) -> None:
        name, card = next(iter(self.cards.items()))
        await self.run(Job(name, [_HEARTBEAT_TEXT], query=_HEARTBEAT_TEXT if card.kind == "reranker" else None), "")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()

    async def wait_dead(self) -> str:
        await asyncio.wait({self._reading})
        return "its process ended unexpectedly"

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        for running in self._jobs:
            running.fail(_died())
        # The process ends when its socket is closed.
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
        Fault.ENGINE_DIED, "The embedder died while computing; the request can be retried.", retry_after_s=5
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
