"""Tickets for WebSockets, asked for and shown."""

from __future__ import annotations

import httpx

from tests.live.clients.raw import RawClient
from tests.live.clients.raw_websocket import handshake

SOON_S = 60.0


def ticket(url: str, key: str) -> str:
    """A new ticket, as the subprotocol that shows it."""
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=SOON_S) as client:
        return str(client.post(f"{url}/v1/ws/tickets").json()["subprotocol"])


def shown(url: str, protocol: str) -> int:
    """The status of a handshake with a ticket."""
    with RawClient(int(url.rpartition(":")[2])) as client:
        client.send(handshake(f"Sec-WebSocket-Protocol: twowire.v1, {protocol}"))
        return int(client.read_until(b"\r\n\r\n").split(b" ", 2)[1])
