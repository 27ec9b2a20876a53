"""Starts the grammar worker, sends it constraints, and ends it.

The process is a plain child, not one of multiprocessing's: those count as vLLM's (`engine.processes.children`).
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
from typing import Any, cast

from engine.grammar.constraint import BackendSpec, CompileLimits, Constraint, Verdict
from engine.processes import messages

START_TIMEOUT_S = 60.0
"""A start takes a quarter of a second, or seconds with a large vocabulary on a busy machine."""
CANCEL_TIMEOUT_S = 5.0


class WorkerDiedError(Exception):
    """The worker has ended, or could not be started; the message is for the log."""


class GrammarProcess(asyncio.Protocol):
    """A running worker. Made by `start`, ended by `close`."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.is_alive = True
        """Whether it takes constraints."""
        self._child = child
        self._transport: asyncio.WriteTransport | None = None
        self._received = bytearray()
        self._numbers = itertools.count()
        self._jobs: dict[int, asyncio.Future[Verdict]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, spec: BackendSpec, limits: CompileLimits) -> GrammarProcess:
        """Start a worker and wait until it has loaded the tokenizer. Raises `WorkerDiedError`."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = cls(_spawned(theirs.fileno()))
            except BaseException:
                ours.close()
                raise
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: process, sock=ours)
            transport.write(_start_message(spec, limits))
            async with asyncio.timeout(START_TIMEOUT_S):
                await process._ready
        except TimeoutError:
            await process.close()
            raise WorkerDiedError(f"it did not start within {START_TIMEOUT_S:g} s") from None
        except BaseException:
            await process.close()
            raise
        return process

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._child.pid

    async def compile(self, constraint: Constraint) -> Verdict:
        """Compile within the limits. A cancellation ends the compile, and waits for its end.

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
                verdict.exception()  # Retrieved: nobody else does.
            raise
        finally:
            self._jobs.pop(number, None)

    async def close(self) -> None:
        """End it at once, and its compiles."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        await asyncio.to_thread(self._child.wait)

    def _send(self, header: dict[str, Any], tail: bytes = b"") -> None:
        if self.is_alive:
            assert self._transport is not None
            self._transport.write(messages.encoded(header, [tail]))

    # -- asyncio.Protocol: saves a task that reads ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are not asyncio's by inheritance.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (message := messages.taken(self._received)) is not None:
            header = message[0]
            if header["type"] == "done":
                job = self._jobs.get(header["job"])
                if job is not None and not job.done():
                    job.set_result(Verdict.of(header))
            elif not self._ready.done():
                if header["type"] == "ready":
                    self._ready.set_result(None)
                else:
                    self._ready.set_exception(WorkerDiedError(header["reason"]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_alive = False
        waits: list[asyncio.Future[Any]] = [self._ready, *self._jobs.values()]
        for waiting in waits:
            if not waiting.done():
                waiting.set_exception(WorkerDiedError("it ended unexpectedly"))
                waiting.exception()  # Retrieved, in case nobody waits for it any more.


def _spawned(number: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "engine.grammar.worker", str(number)]
    # A process group of its own: Ctrl+C must reach only the server, which lets running requests finish. One thread per
    # library, because a process with several cannot fork safely.
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
    return messages.encoded(header, [tokenizer.encode()])
