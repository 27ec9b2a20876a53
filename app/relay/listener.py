"""Answers other servers: reads generations of this one for them."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import structlog

from app.generation.replay.elsewhere import Whereabouts, whereabouts_of
from app.generation.replay.reader import ReplayReader
from app.generation.replay.store import ReplayStore, not_found
from app.relay.held import HOLD, Held
from app.relay.messages import (
    MAX_REQUEST_BYTES,
    Message,
    encoded_error,
    encoded_events,
    proof,
    receive,
    send,
)
from engine.sharing.meeting import Meeting, accepted
from protocol.errors import TwowireError

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_S = 10.0
ALIVE_EVERY_S = 10.0
"""How often a reader is told that this server still runs. It gives up after `app.relay.remote.SILENT_FOR_S`."""
READS = frozenset({"resume", "follow", "watch"})

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Operation = Callable[[str, str | None], Awaitable[Any]]
"""Does something to the generation of an id, on behalf of an owner, and returns JSON."""


class RelayListener:
    """Answers over Unix sockets, which only this user can reach, and over TCP, where a proof is asked for."""

    def __init__(self, replays: ReplayStore, here: Whereabouts, held: Held | None = None) -> None:
        """`held`: what this API server holds for the others of its server."""
        self.operations: dict[str, Operation] = {}
        self.served: dict[str, Serve] = {} if held is None else {HOLD: held.serve}
        """What other API servers of this server may connect for, by the operation that begins the connection."""
        self._replays = replays
        self._here = here
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def serve_unix(self, meeting: Meeting) -> None:
        """Answer at a meeting. Never returns."""
        async for connection in accepted(meeting):
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=MAX_REQUEST_BYTES)
            self._start(reader, writer, None)

    async def serve_tcp(self, host: str, port: int, secret: bytes, *, shares_port: bool = False) -> asyncio.Server:
        """Listen, and answer in the background. Raises `OSError`.

        `shares_port`: other processes of this server listen on the same port.
        """
        server = await asyncio.start_server(
            lambda reader, writer: self._start(reader, writer, secret),
            host,
            port,
            limit=MAX_REQUEST_BYTES,
            reuse_port=shares_port or None,
        )
        self._servers.append(server)
        return server

    def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes | None) -> None:
        task = asyncio.create_task(self._answer(reader, writer, secret))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes | None) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = await _request(reader, writer, secret)
            if request is None:
                return
            if secret is None and (serve := self.served.get(request["op"])) is not None:
                await serve(reader, writer)
                return
            try:
                if request["op"] in READS:
                    await self._relay(reader, writer, await self._open(request))
                else:
                    await send(writer, {"done": await self._operate(request)})
            except TwowireError as error:
                await send(writer, {"error": encoded_error(error)})
        except (OSError, ValueError, KeyError, TimeoutError) as error:
            log.warning("relay_failed", error=repr(error))
        except Exception:
            log.exception("relay_failed")
        finally:
            writer.close()

    async def _operate(self, request: Message) -> Any:
        name, answer_id, owner = request["op"], request["id"], request["owner"]
        operation = self.operations[name]
        place = whereabouts_of(answer_id)
        if place is not None and place != self._here and place.server == self._here.server:
            # API servers share a TCP port, so any of them gets the request.
            return await self._replays.ask(name, answer_id, owner)
        return await operation(answer_id, owner)

    async def _open(self, request: Message) -> ReplayReader:
        answer_id, owner, token, after = (request[name] for name in ("id", "owner", "token", "after"))
        place = whereabouts_of(answer_id)
        if place is None or place.server != self._here.server:
            raise not_found()
        if request["op"] == "resume":
            return await self._replays.resume(answer_id, owner, token, after)
        if request["op"] == "follow":
            return await self._replays.follow(answer_id, token, after)
        return await self._replays.watch(answer_id, owner, after)

    async def _relay(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, reader: ReplayReader) -> None:
        listening = asyncio.create_task(self._listen(source, reader))
        sending = asyncio.create_task(_send_all(sink, reader))
        beating = asyncio.create_task(_beat(sink))
        try:
            # Whichever ends first: the events, or the other server's interest in them.
            await asyncio.wait({listening, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            tasks = (listening, sending, beating)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await reader.leave()

    async def _listen(self, source: asyncio.StreamReader, reader: ReplayReader) -> None:
        while await receive(source, MAX_REQUEST_BYTES) is not None:
            await reader.cancel()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes | None) -> Message | None:
    challenge = secrets.token_hex(16)
    if secret is not None:
        await send(writer, {"challenge": challenge})
    request = await receive(reader, MAX_REQUEST_BYTES)
    if request is None or secret is None:
        return request
    given = str(request.get("proof")).encode(errors="replace")
    if not hmac.compare_digest(given, proof(secret, challenge, request).encode()):
        log.warning("relay_refused")
        await send(writer, {"refused": True})
        return None
    return request


async def _beat(sink: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(ALIVE_EVERY_S)
        if not sink.transport.get_write_buffer_size():  # Otherwise there is enough to read.
            sink.write(b'{"alive":true}\n')


async def _send_all(sink: asyncio.StreamWriter, reader: ReplayReader) -> None:
    buffer = reader.buffer
    opened = {
        "token": buffer.token,
        "follow_token": buffer.follow_token,
        "grace_s": min(buffer.grace_s, 1e9),
        "first_seq": buffer.first_seq,
        "last_seq": buffer.last_seq,
    }
    await send(sink, {"opened": opened})
    end: Message = {"error": None}
    try:
        while (events := await reader.next()) is not None:
            if events:
                await send(sink, {"events": encoded_events(events), "usage": asdict(reader.usage)})
            else:
                await send(sink, {"silent": True})
    except TwowireError as error:
        end = {"error": encoded_error(error), "error_events": encoded_events(reader.error_events(error))}
    await send(sink, {"end": end | {"status": reader.status, "usage": asdict(reader.usage)}})
