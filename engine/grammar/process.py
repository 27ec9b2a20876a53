"""The grammar worker, seen from the server: started, spoken to and ended.

Does not know whose constraints it compiles, nor how many at a time (`engine.grammar.checker` does). The process is a
plain child of the server, not one of multiprocessing's, because those count as vLLM's (`engine.processes`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import socket
import subprocess
import sys
from typing import Any

from engine import embedder_frames
from engine.grammar.constraint import BackendSpec, CompileLimits, Constraint, Verdict

START_TIMEOUT_S = 60.0
"""It takes a quarter of a second, or some seconds where the vocabulary is large and the machine is busy."""
CANCEL_TIMEOUT_S = 5.0


class WorkerDiedError(Exception):
    """The worker has ended, or could not be started; the message is for the log."""


class GrammarProcess:
    """A running worker. Made by `start`, ended by `close`."""

    def __init__(
        self, child: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._child = child
        self._writer = writer
        self._numbers = itertools.count()
        self._jobs: dict[int, asyncio.Future[Verdict]] = {}
        self._reading = asyncio.create_task(self._read(reader), name="grammar-reader")

    @classmethod
    async def start(cls, spec: BackendSpec, limits: CompileLimits) -> GrammarProcess:
        """Start a worker and wait until it has loaded the tokenizer. Raises `WorkerDiedError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = _spawned(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            writer.write(_start_message(spec, limits))
            async with asyncio.timeout(START_TIMEOUT_S):
                message = await embedder_frames.read(reader)
            if message is None or message[0]["type"] != "ready":
                raise WorkerDiedError(message[0]["reason"] if message else "it ended while it started")
        except TimeoutError:
            await _end(child, writer)
            raise WorkerDiedError(f"it did not start within {START_TIMEOUT_S:g} s") from None
        except BaseException:
            await _end(child, writer)
            raise
        return cls(child, reader, writer)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """It can be given constraints."""
        return not self._reading.done()

    async def compile(self, constraint: Constraint) -> Verdict:
        """Compile within the limits. A cancellation ends the compile, and returns when it has ended.

        Raises `WorkerDiedError`.
        """
        if not self.is_alive:
            raise WorkerDiedError("it has ended")
        number = next(self._numbers)
        verdict = self._jobs[number] = asyncio.get_running_loop().create_future()
        self._send({"type": "compile", "job": number, "kind": constraint.kind}, constraint.text.encode())
        try:
            return await asyncio.shield(verdict)
        except asyncio.CancelledError:
            self._send({"type": "cancel", "job": number})
            await asyncio.wait({verdict}, timeout=CANCEL_TIMEOUT_S)
            if verdict.done():
                verdict.exception()  # Nobody else asks for it.
            raise
        finally:
            self._jobs.pop(number, None)

    async def close(self) -> None:
        """End it at once, and what it compiles."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._fail_jobs()
        await _end(self._child, self._writer)

    def _send(self, header: dict[str, Any], tail: bytes = b"") -> None:
        if not self._writer.is_closing():
            self._writer.write(embedder_frames.encoded(header, [tail]))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while (message := await embedder_frames.read(reader)) is not None:
            header = message[0]
            job = self._jobs.get(header["job"])
            if job is not None and not job.done():
                job.set_result(Verdict.of(header))
        self._fail_jobs()

    def _fail_jobs(self) -> None:
        for job in self._jobs.values():
            if not job.done():
                job.set_exception(WorkerDiedError("it ended unexpectedly"))


def _spawned(number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "engine.grammar.worker", str(number)]
    # In a process group of its own, so that Ctrl+C reaches the server alone, which lets running requests finish. One
    # thread per library, because a process with several cannot fork safely.
    return subprocess.Popen(
        command,
        env=os.environ | {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        pass_fds=(number,),
        stdin=subprocess.DEVNULL,
        stdout=2,
        process_group=0,
    )


def _start_message(spec: BackendSpec, limits: CompileLimits) -> bytes:
    backend = dataclasses.asdict(spec)
    tokenizer: str = backend.pop("tokenizer")
    header = {"type": "start", "backend": backend, "limits": dataclasses.asdict(limits)}
    return embedder_frames.encoded(header, [tokenizer.encode()])


async def _end(child: subprocess.Popen[bytes], writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await asyncio.to_thread(child.wait)
