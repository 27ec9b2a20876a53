"""The connection of a channel, restored when it is lost, and what is waiting for the server's messages on it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Self

from twowire_client.connection import (
    ClientConnection,
    ConnectionClosed,
    channel_uri,
    connected_socket,
    ping_regularly,
    send,
)
from twowire_client.generation import ChannelError, ConnectionLost, Generation
from twowire_client.message import Json
from twowire_client.stats import EVENT_ID, Stats

FINAL_CLOSE_CODES = frozenset({1002, 1007, 1008, 4401, 4409})
"""Not worth a reconnect: a broken protocol, abuse, a revoked credential, another reader."""
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""A handshake refused with one of these may be retried."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0


class RestoredConnection:
    """Connects when the context is entered, hands out messages, and reconnects while there is something to resume."""

    def __init__(self, url: str, api_key: str | None, reconnect_attempts: int, open_timeout_s: float) -> None:
        self._uri = channel_uri(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._reconnect_attempts = reconnect_attempts
        self._open_timeout_s = open_timeout_s
        self._generations: dict[str, Generation] = {}
        self._prefills: dict[str, asyncio.Future[Json]] = {}
        self._limits: Json = {}
        self._stats = Stats()
        self._socket: ClientConnection | None = None
        self._opening = asyncio.Lock()
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._connected()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connection. Running generations are cancelled; resumable ones run on for their grace period."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closed = ConnectionLost("the channel was closed")
        self._fail(list(self._generations.values()), closed)
        self._stats.fail(closed)
        self._fail_prefills(closed)
        if self._socket is not None:
            await self._socket.close()

    async def _connected(self) -> ClientConnection:
        async with self._opening:
            if self._is_closed:
                raise ConnectionLost("the channel was closed")
            socket = self._socket
            if socket is None:
                socket = await self._open()
                if socket is not self._socket:
                    raise ConnectionLost("the connection was lost as soon as it was opened")
            return socket

    async def _open(self) -> ClientConnection:
        """Connect, and resume what was interrupted. The caller holds the lock."""
        socket, self._limits = await connected_socket(self._uri, self._headers, self._open_timeout_s)
        self._socket = socket
        task = asyncio.create_task(self._read(socket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._stats.frame is not None:
            await send(socket, self._stats.frame)
        for stream_id, generation in list(self._generations.items()):
            generation.is_answered = False
            await send(socket, json.dumps(come_back(generation)))
            if generation.is_cancelled:
                await self._cancel(stream_id)
        return socket

    async def _read(self, socket: ClientConnection) -> None:
        """Hand out messages; when the connection is lost, resume what can be resumed."""
        beat = asyncio.create_task(ping_regularly(socket, self._limits.get("ping_interval_s", 25.0)))
        silence_s = self._limits.get("idle_timeout_s", 60.0)
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    message = await socket.recv(decode=True)
                await self._hand_out(socket, message)
        except TimeoutError:
            lost = ConnectionLost("the server has been silent for too long")
        except ConnectionClosed as closed:
            lost = ConnectionLost(f"the connection was lost: {closed}", closed.rcvd.code if closed.rcvd else None)
        except (ValueError, KeyError, TypeError) as error:
            lost = ConnectionLost(f"the server broke the protocol: {error!r}")
        finally:
            beat.cancel()
        socket.transport.abort()
        self._socket = None
        await self._recover(lost)

    async def _hand_out(self, socket: ClientConnection, message: str) -> None:
        frame = json.loads(message)
        kind, generation = frame["type"], self._generations.get(frame.get("stream_id"))
        if kind == "ping":
            await send(socket, json.dumps({"type": "pong", "t": frame.get("t")}))
        elif kind == "server.stats":
            self._stats.take({name: value for name, value in frame.items() if name != "type"})
        elif kind == "error" and frame.get("event_id") == EVENT_ID:
            self._stats.fail(ChannelError(frame["status"], frame["error"], frame.get("retry_after_s")))
        elif (prefill := self._prefills.get(frame.get("event_id"))) is not None and not prefill.done():
            if kind == "error":
                prefill.set_exception(ChannelError(frame["status"], frame["error"], frame.get("retry_after_s")))
            else:
                prefill.set_result({"status": frame["status"], "usage": frame["usage"]})
        elif generation is None:
            pass  # Of a stream that has ended here, or of the connection, which is about to close.
        elif kind == "chat.completion.chunk":
            self._failures = 0
            generation.add(frame["seq"], frame["data"], len(message))
            if generation.is_full and not await generation.has_room(socket.wait_closed()):
                self._fail(
                    [generation], ConnectionLost("the server closed the connection because nobody read the chunks")
                )
        elif kind == "chat.completion.done":
            del self._generations[generation.stream_id]
            generation.end(frame["status"], frame["usage"])
        elif kind == "chat.completion.created":
            generation.start(frame["id"], frame.get("resume_token"), frame.get("follow_token"))
        elif kind == "chat.completion.resumed":
            generation.resumed()
        elif kind == "error" and frame.get("event_id") == generation.stream_id:
            # Any other error answers a late cancel.
            error = ChannelError(frame["status"], frame["error"], frame.get("retry_after_s"))
            if generation.is_answered and error.code != "taken_over":
                generation.note(error)
            else:
                self._fail([generation], error)

    async def _recover(self, lost: ConnectionLost) -> None:
        """Reconnect for the generations that can be resumed; fail the others."""
        self._fail_prefills(lost)
        is_final = lost.close_code in FINAL_CLOSE_CODES
        self._fail([one for one in self._generations.values() if is_final or not one.can_resume], lost)
        error: Exception = lost
        async with self._opening:
            while self._generations and self._socket is None and self._failures < self._reconnect_attempts:
                delay_s = min(FIRST_DELAY_S * 2**self._failures, LONGEST_DELAY_S) * random.uniform(0.5, 1)
                if isinstance(error, ChannelError):
                    delay_s = max(delay_s, min(error.retry_after_s or 0, LONGEST_DELAY_S))
                self._failures += 1
                await asyncio.sleep(delay_s)
                try:
                    await self._open()
                except ConnectionLost as failure:
                    error = failure
                except ChannelError as refused:
                    error = refused
                    if refused.status not in PASSING_STATUSES:
                        break
            if self._socket is None:
                self._fail(list(self._generations.values()), error)
                self._stats.fail(error)

    def _fail_prefills(self, error: Exception) -> None:
        for prefill in self._prefills.values():
            if not prefill.done():
                prefill.set_exception(error)

    def _fail(self, generations: Sequence[Generation], error: Exception) -> None:
        for generation in generations:
            self._generations.pop(generation.stream_id, None)
            generation.note(error)
            generation.end("failed")

    async def _cancel(self, stream_id: str) -> None:
        if self._socket is not None:
            await send(self._socket, json.dumps({"type": "chat.completion.cancel", "stream_id": stream_id}))


def come_back(generation: Generation) -> Json:
    """The frame that resumes or follows it after its last chunk."""
    verb = "follow" if generation.is_follower else "resume"
    token = generation.follow_token if generation.is_follower else generation.resume_token
    frame: Json = {"type": f"chat.completion.{verb}", "stream_id": generation.stream_id}
    frame |= {"event_id": generation.stream_id, "id": generation.id, f"{verb}_token": token}
    return frame | {"starting_after": generation.seq}
