"""Decides who may open a channel. Every refusal is an HTTP answer, sent in place of the upgrade."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from quart import websocket

from app.services import Services
from protocol.channel.client_frames import SUBPROTOCOL, TICKET_PREFIX
from protocol.errors import Fault, TwowireError


def check_handshake() -> None:
    """Raise `TwowireError` unless this is the opening handshake of RFC 6455, section 4.2.1, by its headers."""
    headers = websocket.headers
    # HTTP/2 has another one (RFC 8441), which this server does not offer.
    if websocket.http_version == "1.0":
        raise TwowireError(Fault.INVALID_HANDSHAKE, "A WebSocket is opened over HTTP/1.1.")
    if headers.getlist("Sec-WebSocket-Version") != ["13"]:
        raise TwowireError(
            Fault.UNSUPPORTED_WEBSOCKET_VERSION,
            "The WebSocket protocol here is version 13: «Sec-WebSocket-Version: 13».",
        )
    keys = headers.getlist("Sec-WebSocket-Key")
    if len(keys) != 1 or not _is_nonce(keys[0]):
        raise TwowireError(Fault.INVALID_HANDSHAKE, "Sec-WebSocket-Key must be one header: 16 random bytes in base64.")
    if headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers:
        raise TwowireError(Fault.INVALID_HANDSHAKE, "The handshake of a WebSocket has no body.")


def _is_nonce(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


async def admit(services: Services, subprotocols: Sequence[str] = (SUBPROTOCOL,)) -> str | None:
    """Check handshake, Host, Origin, credential, subprotocol and capacity; return the connection's owner.

    A client that offers subprotocols must offer one of `subprotocols`. Raises `TwowireError`.
    """
    check_handshake()
    headers = websocket.headers
    services.hosts.check(headers.getlist("Host"), websocket.scope.get("server"))
    origin = headers.get("Origin")
    # Browsers do not apply CORS to WebSockets, so this is checked with keys, too.
    services.origins.check(headers.getlist("Origin"), headers.get("Host", ""), is_tls=websocket.scheme == "wss")
    offered = list(websocket.requested_subprotocols)
    tickets = [name.removeprefix(TICKET_PREFIX) for name in offered if name.startswith(TICKET_PREFIX)]
    authorization = headers.getlist("Authorization")
    if tickets and not authorization and services.keys:
        owner = await services.tickets.redeem(tickets[0], origin)
    else:
        owner = services.keys.check(authorization, headers.getlist("x-api-key"))
    if offered and not set(offered) & set(subprotocols):
        names = " or ".join(subprotocols)
        raise TwowireError(Fault.UNKNOWN_SUBPROTOCOL, f"The subprotocol here is {names}; offer it, or none.")
    services.manager.check_open()
    services.connections.check_room(owner)
    return owner
