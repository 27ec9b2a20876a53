"""Adapters that are loaded and unloaded while several API servers run.

API server 0 makes every change, and tells the others; they ask it. Each of the others has one connection to it, which
begins with {"op": "adapters"}. After that,

    0        {"version": 3, "adapters": […]}                    at once, and after each change
    other    {"seen": 3, "serving": […], "held": […]}           when it serves these, and when requests end
    other    {"call": 1, "do": "load", "with": […]}             as many as it likes, without waiting
    0        {"answer": 1, "error": null}                       when that has been done, or why not

`serving` and `held` are ids: those that new requests may ask for, and those that requests still need. API server 0
drops an adapter from the engine only when no API server serves or holds it. If API server 0 ends, so does the engine.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from app.relay.messages import (
    BUFFER_BYTES,
    MAX_LINE_BYTES,
    Message,
    decoded_error,
    encoded,
    encoded_error,
    receive,
    send,
)
from engine.adapter_registry import Adapters
from engine.adapters.api import Adapter
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

ADAPTERS = "adapters"
PUBLISH_S = 10.0
"""How long a change waits for the other API servers to serve it. One that is slower gets it later."""
CALL_S = 300.0
RECONNECT_S = 0.5


class _Connected:
    """Another API server, as API server 0 knows it."""

    def __init__(self, writer: asyncio.StreamWriter, ids: set[int]) -> None:
        self.writer = writer
        self.seen = -1
        self.ids = ids
        """Those that it serves, or that its requests need."""


class AdapterLeader:
    """API server 0's side. Implements `engine.adapter_registry.Mirrors`."""

    def __init__(self, adapters: Adapters, is_taken: Callable[[str], bool]) -> None:
        """`is_taken` tells names of other models."""
        self._adapters = adapters
        self._is_taken = is_taken
        self._version = 0
        self._connected: set[_Connected] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        adapters.mirrors = self

    async def load(self, name: str, source: str, *, replaces: bool) -> None:
        """See `Adapters.load`."""
        await self._adapters.load(name, source, replaces=replaces, is_taken=self._is_taken)

    async def unload(self, name: str) -> None:
        """See `Adapters.unload`."""
        await self._adapters.unload(name)

    def uses(self, adapter: Adapter) -> bool:
        return any(adapter.id in one.ids for one in self._connected)

    async def publish(self) -> None:
        self._version += 1
        for one in self._connected:
            if not one.writer.is_closing():
                one.writer.write(self._state())
        try:
            async with asyncio.timeout(PUBLISH_S):
                while any(one.seen < self._version for one in self._connected):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.warning("adapters_not_seen", api_servers=sum(one.seen < self._version for one in self._connected))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer another API server until it closes. Raises `OSError`, `ValueError`, `KeyError`."""
        one = _Connected(writer, {adapter.id for adapter in self._adapters.known})
        self._connected.add(one)
        try:
            writer.write(self._state())
            while (message := await receive(reader, MAX_LINE_BYTES)) is not None:
                if "seen" in message:
                    one.seen, one.ids = message["seen"], {*message["serving"], *message["held"]}
                    self._note_change()
                else:
                    task = asyncio.create_task(self._answer(writer, message))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            self._connected.discard(one)
            self._note_change()

    def _note_change(self) -> None:
        self._changed.set()
        self._adapters.drop_unused()

    def _state(self) -> bytes:
        return encoded(
            {"version": self._version, "adapters": [_encoded(one) for one in self._adapters.by_name.values()]}
        )

    async def _answer(self, writer: asyncio.StreamWriter, message: Message) -> None:
        error = None
        try:
            match message["do"], message["with"]:
                case "load", [name, source, replaces]:
                    await self.load(name, source, replaces=replaces)
                case "unload", [name]:
                    await self.unload(name)
        except TwowireError as refused:
            error = encoded_error(refused)
        except Exception:
            log.exception("adapter_call_failed")
            error = encoded_error(TwowireError(Fault.INTERNAL, "The adapter could not be changed."))
        try:
            await send(writer, {"answer": message["call"], "error": error})
        except OSError:
            pass  # It is gone; the change stays.


class AdapterFollower:
    """The side of the other API servers: serves what API server 0 does, and has it make changes."""

    def __init__(self, adapters: Adapters, path: Path) -> None:
        """`path` is API server 0's socket."""
        self._adapters = adapters
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._seen = -1
        self._calls = itertools.count()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        adapters.is_mirror = True
        adapters.on_released = self._report

    async def load(self, name: str, source: str, *, replaces: bool) -> None:
        """See `Adapters.load`."""
        await self._call("load", name, source, replaces)

    async def unload(self, name: str) -> None:
        """See `Adapters.unload`."""
        await self._call("unload", name)

    async def run(self) -> None:
        """Stay connected. Never returns."""
        while True:
            try:
                await self._follow()
            except (OSError, ValueError, KeyError) as error:
                log.warning("adapters_unreachable", error=repr(error))
            await asyncio.sleep(RECONNECT_S)

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=BUFFER_BYTES)
        try:
            await send(writer, {"op": ADAPTERS})
            self._writer = writer
            while (message := await receive(reader, MAX_LINE_BYTES)) is not None:
                if "version" in message:
                    self._adapters.mirror([_decoded(one) for one in message["adapters"]])
                    self._seen = message["version"]
                    self._report()
                elif (waiting := self._waiting.get(message["answer"])) is not None and not waiting.done():
                    waiting.set_result(message)
        finally:
            self._writer, self._seen = None, -1
            self._adapters.lose_mirror()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(_unreachable())
            writer.close()

    def _report(self) -> None:
        if self._writer is None or self._seen < 0 or self._writer.is_closing():
            return
        serving = [adapter.id for adapter in self._adapters.by_name.values()]
        self._writer.write(encoded({"seen": self._seen, "serving": serving, "held": self._adapters.used_ids}))

    async def _call(self, name: str, *given: Any) -> None:
        if self._writer is None or self._writer.is_closing():
            raise _unreachable()
        number = next(self._calls)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(encoded({"call": number, "do": name, "with": given}))
            async with asyncio.timeout(CALL_S):
                answer = await waiting
        except TimeoutError:
            raise _unreachable() from None
        finally:
            del self._waiting[number]
        if answer["error"] is not None:
            raise decoded_error(answer["error"])


def _encoded(adapter: Adapter) -> list[Any]:
    return [adapter.name, adapter.id, str(adapter.folder), adapter.source, adapter.rank]


def _decoded(value: list[Any]) -> Adapter:
    name, number, folder, source, rank = value
    return Adapter(name, number, Path(folder), source, rank)


def _unreachable() -> TwowireError:
    return TwowireError(Fault.ENGINE_NOT_READY, "API server 0 cannot be reached now.", retry_after_s=5)
