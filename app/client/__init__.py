"""The Python client of the channel: `Channel`, `Generation` and their errors, and a loop that runs tools.

It needs only the package `websockets` (the extra `client`), nothing of the server.
"""

from app.client.channel import Channel
from app.client.generation import ChannelError, ConnectionLost, Generation
from app.client.message import MessageBuilder
from app.client.tools import run_tools

__all__ = ["Channel", "ChannelError", "ConnectionLost", "Generation", "MessageBuilder", "run_tools"]
