"""The Python client of the channel: `Channel`, `Generation` and their errors, and a loop that runs tools.

It needs only the package `websockets`, nothing of the server.
"""

from twowire_client.channel import Channel
from twowire_client.generation import ChannelError, ConnectionLost, Generation
from twowire_client.message import MessageBuilder
from twowire_client.tools import run_tools

__all__ = ["Channel", "ChannelError", "ConnectionLost", "Generation", "MessageBuilder", "run_tools"]
