"""The Python client of the channel: `Channel`, `Generation` and their errors.

Does not import the server: the package `websockets` (the extra `client`) is all that it needs.
"""

from app.client.channel import Channel
from app.client.generation import ChannelError, ConnectionLost, Generation

__all__ = ["Channel", "ChannelError", "ConnectionLost", "Generation"]
