"""Chats that are cut and resumed through other servers, on the other wire each time."""

from __future__ import annotations

import json
import logging
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.live.servers.server import MODEL

SOON_S = 60.0
PATH = "/v1/chat/completions"
QUIET = logging.getLogger("tests.moving_chats")
QUIET.setLevel(logging.CRITICAL + 1)
"""The library logs a connection that is cut under it as an error of its own."""


@dataclass
class MovingChat:
    """A chat that counts, and what has been read of it so far."""

    key: str
    counted: int
    http: httpx.Client
    numbers: list[int] = field(default_factory=list)
    id: str = ""
    token: str = ""
    last: int = 0
    """The number of the last event that was read."""

    @property
    def body(self) -> dict[str, object]:
        return {"model": MODEL, "messages": [{"role": "user", "content": f"Count from 1 to {self.counted}"}]}

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def read_http(self, url: str, until: int) -> None:
        """Begin or resume at a server, and read up to a number; at the last one, to the end."""
        if self.id:
            again = f"{url}{PATH}/{self.id}/stream?starting_after={self.last}"
            asked = self.http.build_request("GET", again, headers=self.headers | {"Twowire-Resume-Token": self.token})
        else:
            headers = self.headers | {"Twowire-Resume-Grace": "60"}
            asked = self.http.build_request("POST", url + PATH, json=self.body | {"stream": True}, headers=headers)
        answer = self.http.send(asked, stream=True)
        try:
            assert answer.status_code == 200, answer.read()
            if not self.id:
                self.id, self.token = (answer.headers[f"Twowire-{what}"] for what in ("Completion-Id", "Resume-Token"))
            has_ended = False
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    self.last = int(line.removeprefix("id: "))
                elif line.startswith("data: {"):
                    self._take(json.loads(line.removeprefix("data: ")))
                    if self._reached(until):
                        return
                has_ended = has_ended or line == "data: [DONE]"
            assert has_ended, f"cut after {self.numbers[-3:]}"
        finally:
            answer.close()

    def read_channel(self, url: str, until: int) -> None:
        """The same on a WebSocket."""
        protocols = [Subprotocol("twowire.v1")]
        uri = url.replace("http://", "ws://") + PATH
        with connect(
            uri, subprotocols=protocols, additional_headers=self.headers, open_timeout=SOON_S, logger=QUIET
        ) as channel:
            if self.id:
                own = {"id": self.id, "resume_token": self.token, "starting_after": self.last}
                asked = {"type": "chat.completion.resume"} | own
            else:
                asked = {"type": "chat.completion.create", "body": self.body, "resume": {"grace_s": 60}}
            channel.send(json.dumps(asked | {"stream_id": "a", "event_id": "e"}))
            while (frame := json.loads(channel.recv(SOON_S)))["type"] != "chat.completion.done":
                assert "error" not in frame, frame
                if frame["type"] == "chat.completion.created":
                    self.id, self.token = frame["id"], frame["resume_token"]
                elif frame["type"] == "chat.completion.chunk":
                    self.last = frame["seq"]
                    self._take(frame["data"])
                    if self._reached(until):
                        # Gone without a word.
                        channel.socket.shutdown(socket.SHUT_RDWR)
                        return
            assert frame["status"] == "completed"
            assert frame["usage"]["completion_tokens"] == self.counted

    def _take(self, chunk: dict[str, object]) -> None:
        assert "error" not in chunk, chunk
        for choice in chunk["choices"]:  # type: ignore[attr-defined]  # a list
            self.numbers += map(int, (choice["delta"].get("content") or "").split())

    def _reached(self, until: int) -> bool:
        return until < self.counted and bool(self.numbers) and self.numbers[-1] >= until

    @property
    def is_whole(self) -> bool:
        return self.numbers == list(range(1, self.counted + 1))


def moved(chat: MovingChat, beginnings: Sequence[str], servers: Sequence[str], rng: random.Random) -> MovingChat:
    """A chat that begins at random through a balancer, on either wire, and is cut after any number.

    It goes on through each of the servers, in any order, on the other wire each time.
    """
    wires = [chat.read_http, chat.read_channel]
    rng.shuffle(wires)
    at = [rng.choice(beginnings), *rng.sample(servers, len(servers))]
    cuts = sorted(rng.sample(range(1, chat.counted), len(servers)))
    for number, (url, until) in enumerate(zip(at, [*cuts, chat.counted], strict=True)):
        wires[number % 2](url, until)
        if chat.numbers[-1] == chat.counted:
            break  # It was faster than its reader.
    return chat
