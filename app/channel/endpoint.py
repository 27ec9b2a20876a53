"""The WebSocket route: the handshake, and a channel's life on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from functools import partial
from typing import Any

import structlog
from quart import Blueprint, Quart, websocket
from quart.asgi import ASGIWebsocketConnection
from quart.wrappers import Websocket

from app.channel.handshake import admit
from app.channel.limits import LEFT, SERVER_FAULT, Closing
from app.channel.local_backend import ChannelBackend
from app.channel.responses.backend import ResponsesBackend
from app.channel.responses.lanes import LaneChannel, limits_of_lanes
from app.channel.session import Channel
from app.config.channel import ChannelLimits
from app.generation.api import GenerationApi
from app.hypercorn import abort_connection, fast_writer_of
from app.observability.record import record_of
from app.observability.traces import context_of
from app.security.caller import Caller
from app.services import Services
from protocol.channel.client_frames import SUBPROTOCOL
from protocol.channel.codec import ChannelCodec
from protocol.channel.responses_codec import SUBPROTOCOL as LANES_SUBPROTOCOL
from protocol.channel.responses_codec import ResponsesCodec

log = structlog.get_logger(__name__)

CLOSE_WAIT_S = 2.0
"""How long the server waits for the peer's half of the closing handshake."""

BLUEPRINT = "channel"

INBOX_MESSAGES = 2
"""How many messages may wait between the socket and the channel before the client has to wait."""


class BoundedConnection(ASGIWebsocketConnection):
    """Bounds the queue of unread messages, which Quart's own does not (Quart 0.22).

    Test: `tests/live/fake/channel/test_channel_abuse.py`.
    """

    def __init__(self, app: Quart, scope: Any) -> None:
        super().__init__(app, scope)
        self.queue = asyncio.Queue(INBOX_MESSAGES)


def channel_routes(services: Services) -> Blueprint:
    """A WebSocket at the path of each API that offers one; the specification is `docs/websocket.md`."""
    routes = Blueprint(BLUEPRINT, __name__)

    async def channel(api: GenerationApi[Any]) -> None:
        # A refusal comes before the accept, so that the client sees a status and a reason.
        await _serve(services, api, await admit(services, subprotocols_of(api)))

    for api in services.apis:
        if api.has_websocket:
            routes.add_websocket(api.path, api.name, partial(channel, api))
    return routes


def subprotocols_of(api: GenerationApi[Any]) -> tuple[str, ...]:
    """The subprotocols that a client may offer at the API's path. Without an offer, it gets the last one."""
    return (SUBPROTOCOL, LANES_SUBPROTOCOL) if api.has_lanes else (SUBPROTOCOL,)


def _channel_of(services: Services, backend: ChannelBackend, connection_id: str, **options: Any) -> Channel:
    """The session that speaks the protocol."""
    limits: ChannelLimits = services.settings.channel
    options["parse_aside"] = services.parser.run
    if isinstance(backend, ResponsesBackend):
        return LaneChannel(connection_id, backend, ResponsesCodec(), limits=limits_of_lanes(limits), **options)
    return Channel(connection_id, backend, ChannelCodec(), limits=limits, **options)


async def _serve(services: Services, api: GenerationApi[Any], owner: str | None) -> None:
    offered, known = websocket.requested_subprotocols, subprotocols_of(api)
    subprotocol = next((name for name in offered if name in known), None)
    has_lanes = api.has_lanes and subprotocol != SUBPROTOCOL
    # The socket outlives the context's proxies in the tasks that send.
    socket: Websocket = websocket._get_current_object()  # type: ignore[attr-defined]  # werkzeug's documented way

    async def send(frame: bytes) -> None:
        await socket.send(frame.decode())

    record, connection_id = record_of(websocket.scope), uuid.uuid4().hex
    caller = Caller.of(owner, websocket.remote_addr)
    backend = (ResponsesBackend if has_lanes else ChannelBackend)(
        services, api, caller, connection_id, context_of(websocket.scope["headers"])
    )
    fast = fast_writer_of(websocket.scope)
    write = fast.write if fast is not None else None
    channel = _channel_of(services, backend, connection_id, send=send, write=write)
    record.path, record.status, record.owner, record.is_session = api.path, 101, owner, True
    record.figures["connection"] = connection_id
    await record.adopt(None, channel.close)
    # Counted before the first wait, so that connections which come together cannot all see the last free place.
    services.connections.add(channel, owner)
    try:
        await socket.accept(subprotocol=subprotocol)
        channel.start()
        await _until_ended(channel, socket)
    finally:
        services.connections.remove(channel)
        await channel.close()
        backend.close()
        record.figures["requests"] = backend.requests
        closing = channel.ended.result()
        if closing != LEFT:  # The code of a client that goes does not reach the server (hypercorn 0.18).
            record.figures |= {"close_code": closing.code, "reason": closing.reason}


async def _until_ended(channel: Channel, socket: Websocket) -> None:
    """Read until the channel ends, then close. A peer that goes cancels this task (Quart 0.22)."""

    async def read() -> None:
        while True:
            await channel.receive(await socket.receive())

    reader = asyncio.create_task(read())
    try:
        waited: set[asyncio.Future[Any]] = {reader, channel.ended}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if channel.ended.done():
            closing = channel.ended.result()
        else:
            log.error("channel_failed", connection=channel.id, exc_info=reader.exception())
            closing = Closing(SERVER_FAULT, "the server failed")
        await channel.close()
        if closing.is_stuck:
            abort_connection(socket.scope)
            return
        with contextlib.suppress(TimeoutError):
            # The peer's answer to the close cancels this task; without it, it is left after a while.
            async with asyncio.timeout(CLOSE_WAIT_S):
                await socket.close(closing.code, closing.reason)
                await asyncio.Event().wait()
        abort_connection(socket.scope)
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
