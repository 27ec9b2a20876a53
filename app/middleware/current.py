"""The request being handled."""

from __future__ import annotations

from quart import has_request_context, request, websocket
from quart.wrappers.base import BaseRequestWebsocket


def current_request() -> BaseRequestWebsocket:
    """The request, or the WebSocket handshake, that is being handled."""
    return request if has_request_context() else websocket
