"""Streamed chats in threads, and how each of them ended, as its client can tell."""

from __future__ import annotations

import json
import ssl
import threading
import time
from typing import Any

import httpx

from tests.live.servers.server import MODEL

PATH = "/v1/chat/completions"
COMPLETED = "completed"
CUT = "cut"
"""The connection ended in mid-stream."""
LEFT = "left"
"""The client ended it."""
LONG = 1900
"""Tokens that take longer than any fault."""
READ_S = 120.0
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""To trust: these servers speak no TLS, and reading all certificates takes longer than a request."""


class Chat(threading.Thread):
    """One chat, begun at once."""

    def __init__(self, url: str, tokens: int = LONG) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Tell me."}],
            "ignore_eos": True,
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        self._leave = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.ended = ""
        """`COMPLETED`, `CUT`, `LEFT`, or the code of an error."""
        self.ended_at = 0.0
        """By `time.monotonic`."""
        self.start()

    def run(self) -> None:
        try:
            self.ended = self._read()
        except httpx.HTTPError:
            self.ended = CUT
        self.ended_at = time.monotonic()

    def leave(self) -> None:
        """End the connection in mid-stream."""
        self._leave.set()

    @property
    def usage(self) -> dict[str, int]:
        found: dict[str, int] = self.events[-1]["usage"]
        return found

    def _read(self) -> str:
        with httpx.stream("POST", f"{self._url}{PATH}", json=self._body, timeout=READ_S, verify=NOBODY) as response:
            if response.status_code != httpx.codes.OK:
                return str(json.loads(response.read())["error"]["code"])
            for line in response.iter_lines():
                if self._leave.is_set():
                    return LEFT
                if line == "data: [DONE]":
                    last = self.events[-1]
                    return str(last["error"]["code"]) if "error" in last else COMPLETED
                if line:
                    self.events.append(json.loads(line.removeprefix("data: ")))
        return CUT
