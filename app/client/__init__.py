"""The Python client of the channel: `Channel`, `Generation` and their errors.

It needs only the package `websockets` (the extra `client`), nothing of the server.
"""

from app.client.channel import Channel
from app.client.generation import ChannelError, ConnectionLost, Generation

__all__ = ["Channel", "ChannelError", "ConnectionLost", "Generation"]
