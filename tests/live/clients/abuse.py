"""What the tests of abuse share: a server with keys and a bystander, and ways to send too much.

Does not know what is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.live.clients.raw_websocket import RawWebSocket, frame
from tests.live.servers.server import MODEL, Server, left_as_found, start_fake_server, stop_server

KEY, OTHER_KEY = "key-of-one", "key-of-another"
BEARER, OTHER_BEARER = (f"Authorization: Bearer {key}" for key in (KEY, OTHER_KEY))
PAGE = "https://chat.example.com"
MESSAGE_BYTES = 1 << 20
FLAT_MIB = 16
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10**6}
CREATE = "chat.completion.create"
FLOOD = frame({"type": "pong"}) * 200
ENDLESS = 1 << 40


@contextmanager
def guarded_server() -> Iterator[Server]:
    """A server with two keys, and room for few connections of each."""
    flags = ("--ws-max-message-bytes", str(MESSAGE_BYTES), "--ws-max-connections-per-key", "8", "--cors-origins", PAGE)
    server = start_fake_server(*flags, "--public-metrics", env={"TWOWIRE_API_KEYS": f"{KEY},{OTHER_KEY}"})
    yield server
    assert stop_server(server) == 0


@contextmanager
def with_bystander(door: Server) -> Iterator[Server]:
    """Whatever is done to the server, a stream that was there before goes on, and nothing is left."""
    with left_as_found(door), RawWebSocket(door.port, OTHER_BEARER) as bystander:
        bystander.say({"type": CREATE, "stream_id": "by", "body": BODY})
        bystander.wait_for("chat.completion.chunk")
        yield door
        bystander.wait_for("chat.completion.chunk")
        bystander.say({"type": "ping", "t": "still here"})
        bystander.wait_for("pong", t="still here")


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
