"""Opens the client's connection, and sends on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

# The names with `as` are re-exported.
from websockets.asyncio.client import ClientConnection as ClientConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed as ConnectionClosed
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from twowire_client.generation import ChannelError, ConnectionLost
from twowire_client.message import Json

PATH = "/v1/chat/completions"
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
MAX_MESSAGE_BYTES = 64 << 20


def channel_uri(url: str) -> str:
    """The channel's address at the server `url`; raises ValueError if that is no HTTP or WebSocket URL."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ValueError(f"url must be like http://127.0.0.1:8000, got {url!r}")
    return f"{SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}{PATH}"


async def connected_socket(
    uri: str, headers: Mapping[str, str], open_timeout_s: float
) -> tuple[ClientConnection, Json]:
    """A connection to the channel at `uri`, and the limits that the server announces on it.

    Raises `ChannelError` if the server refuses, `ConnectionLost` if it cannot be reached within `open_timeout_s`.
    """
    opening = connect(
        uri,
        subprotocols=[Subprotocol("twowire.v1")],
        additional_headers=headers,
        compression=None,
        open_timeout=open_timeout_s,
        close_timeout=2,
        max_size=MAX_MESSAGE_BYTES,
        # The channel has its own heartbeat; this one would fail while a slow reader blocks the socket.
        ping_interval=None,
    )
    try:
        socket = await opening
        try:
            async with asyncio.timeout(open_timeout_s):
                limits: Json = json.loads(await socket.recv())["limits"]
        except BaseException:
            socket.transport.abort()
            raise
    except InvalidStatus as refused:
        raise _refusal(refused) from None
    except (OSError, WebSocketException, ValueError, KeyError) as error:
        raise ConnectionLost(f"{uri} cannot be reached: {error}") from error
    return socket, limits


def _refusal(refused: InvalidStatus) -> ChannelError:
    retry_after = refused.response.headers.get("Retry-After", "")
    try:
        error = dict(json.loads(refused.response.body or b"")["error"])
    except (ValueError, KeyError, TypeError):  # From a proxy, for example.
        error = {}
    return ChannelError(refused.response.status_code, error, float(retry_after) if retry_after.isdecimal() else None)


async def send(socket: ClientConnection, message: str) -> None:
    """Send, unless the connection has ended: the reading task handles that."""
    try:
        await socket.send(message)
    except ConnectionClosed:
        pass


async def ping_regularly(socket: ClientConnection, interval_s: float) -> None:
    """Ping the server, also while the reading task waits for a slow reader."""
    while True:
        await asyncio.sleep(interval_s)
        await send(socket, json.dumps({"type": "ping"}))
