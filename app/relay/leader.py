"""The store that API server 0 holds, as the other API servers of one server use it: over its Unix socket."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from app.relay.held import HOLD, LATIN
from app.relay.messages import BUFFER_BYTES, MAX_LINE_BYTES, Message, receive
from app.stores.base import Draw, Drawn
from app.stores.redis import RUN_TIMEOUT_S, Script, StoreUnavailable

ANSWER_TIMEOUT_S = 2.0
"""How long API server 0 may take. A closed connection says at once that it is gone."""
MAX_WAITING = 4096
"""How many calls of one connection wait for their answers; one more fails at once."""


class LeaderStore:
    """Implements `app.stores.shared.Remote`.

    Responses have a connection of their own, as their messages may be large.
    """

    is_shared = True

    def __init__(self, path: Path, line_bytes: int = MAX_LINE_BYTES) -> None:
        self._small = Line(path, ANSWER_TIMEOUT_S, MAX_LINE_BYTES)
        self._large = Line(path, RUN_TIMEOUT_S, line_bytes)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._small.call("put", [key, value.decode(LATIN), ttl_s])

    async def get(self, key: str) -> bytes | None:
        value: str | None = await self._small.call("get", [key])
        return None if value is None else value.encode(LATIN)

    async def delete(self, key: str) -> None:
        await self._small.call("delete", [key])

    async def claim(self, key: str, ttl_s: float) -> bool:
        return bool(await self._small.call("claim", [key, ttl_s]))

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        # JSON has no infinity.
        given = [[key, limit, None if needed == -math.inf else needed, *rest] for key, limit, needed, *rest in draws]
        is_granted, levels = await self._small.call("draw", given)
        return Drawn(is_granted, tuple(levels))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        """Do what the script of responses does, the only one there is."""
        operation, owner, name, _now, _keep_s, _max_per_key, _max_bytes, *given = arguments
        sent = [_text(each) if isinstance(each, str | bytes) else each for each in (operation, owner, name, *given)]
        *totals, result = await self._large.call("responses", sent)
        while operation == "chain" and result and (parent := result[0][2]):
            # A long chain comes in several answers.
            *totals, earlier = await self._large.call("responses", [*sent[:2], parent])
            result = None if earlier is None else [*earlier, *result]
        return _bytes([*totals, result])

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless API server 0 answers. One that is starting has some time."""
        await self._large.call("get", [""])

    def start(self) -> None:
        pass

    async def close(self) -> None:
        await self._small.close()
        await self._large.close()


class Line:
    """A connection to API server 0, made when it is needed. Calls do not wait for each other's answers."""

    def __init__(self, path: Path, timeout_s: float, line_bytes: int) -> None:
        self._path = path
        self.timeout_s = timeout_s
        self._line_bytes = line_bytes
        self._connecting = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: deque[asyncio.Future[Message]] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def call(self, name: str, given: Sequence[Any]) -> Any:
        """What API server 0 answers. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(self.timeout_s):
                writer = self._writer or await self._connected()
                if writer.is_closing():  # `_read` has yet to notice; uvloop's write would raise `RuntimeError`.
                    raise ConnectionError("API server 0 has closed the connection")
                if len(self._waiting) >= MAX_WAITING or writer.transport.get_write_buffer_size() > self._line_bytes:
                    raise ConnectionError("too many calls wait for it")
                answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
                self._waiting.append(answer)
                writer.write(orjson.dumps({"call": name, "with": given}) + b"\n")
                return (await answer)["result"]
        except (OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and self._writer is not None:
                self._writer.transport.abort()  # Nobody waits for what would still be answered.
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is None:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=BUFFER_BYTES)
                writer.write(orjson.dumps({"op": HOLD}) + b"\n")
                self._writer, self._waiting = writer, deque()
                self._reading = asyncio.create_task(self._read(reader, writer, self._waiting), name="held-store")
            return self._writer

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, waiting: deque[asyncio.Future[Message]]
    ) -> None:
        failure: Exception = ConnectionError("API server 0 has closed the connection")
        try:
            while (message := await receive(reader, self._line_bytes)) is not None:
                answer = waiting.popleft()
                if not answer.done():  # Nobody waits for it anymore.
                    answer.set_result(message)
        except (OSError, ValueError) as error:
            failure = ConnectionError(repr(error))
        finally:
            self._writer = None
            writer.close()
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(failure)

    async def close(self) -> None:
        """Close the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _text(value: str | bytes) -> str:
    return (value.encode() if isinstance(value, str) else value).decode(LATIN)


def _bytes(value: Any) -> Any:
    """Texts as bytes, in lists of lists too."""
    if isinstance(value, list):
        return [_bytes(each) for each in value]
    return value.encode(LATIN) if isinstance(value, str) else value
