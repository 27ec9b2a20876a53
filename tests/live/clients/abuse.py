"""Keys, sizes and messages for clients of the channel that mean harm, and ways to send too much."""

from __future__ import annotations

import psutil

from tests.live.clients.raw_websocket import RawWebSocket, frame
from tests.live.servers.server import MODEL, Server

KEY, OTHER_KEY = "key-of-one", "key-of-another"
BEARER, OTHER_BEARER = (f"Authorization: Bearer {key}" for key in (KEY, OTHER_KEY))
PAGE = "https://chat.example.com"
MESSAGE_BYTES = 1 << 20
FLAT_MIB = 16
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10**6}
CREATE = "chat.completion.create"
FLOOD = frame({"type": "pong"}) * 200
ENDLESS = 1 << 40


def send_until_closed(ws: RawWebSocket, head: bytes, part: bytes, most: int) -> int:
    """Send `part` again and again until the server does not take it; returns how many bytes it took."""
    sent = 0
    try:
        ws.send(head)
        while sent < most:
            ws.send(part)
            sent += len(part)
    except OSError:
        pass
    return sent


def memory_mib(server: Server) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / 2**20
