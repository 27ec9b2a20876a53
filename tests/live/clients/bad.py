"""What the tests of bad input share: how a refusal must look, and an unrelated client that must not notice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import httpx
import pytest

from tests.live.servers.server import MODEL, Server

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "Tell me."}]
BASE: dict[str, dict[str, Any]] = {
    CHAT: {"model": MODEL, "messages": MESSAGES, "max_tokens": 4},
    COMPLETION: {"model": MODEL, "prompt": "Once upon", "max_tokens": 4},
}
Refusal = tuple[int, str, str | None]
"""Status, code, param."""


def error_of(answer: httpx.Response) -> dict[str, str | None]:
    """The error object of a refusal, once it has OpenAI's shape."""
    assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text[:300]}"
    assert answer.headers["content-type"] == "application/json"
    whole = answer.json()
    assert set(whole) == {"error"}
    error: dict[str, str | None] = whole["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert all(error[name] is None or isinstance(error[name], str) for name in ("param", "code"))
    return error


def refusal(server: Server, path: str, fields: dict[str, Any]) -> Refusal:
    """How a request with `fields` is refused; it must be the same streamed and not."""
    whole, streamed = (
        httpx.post(f"{server.url}{path}", json=BASE[path] | fields | {"stream": stream}, timeout=60)
        for stream in (False, True)
    )
    error = error_of(whole)
    assert error_of(streamed) == error
    assert streamed.status_code == whole.status_code
    return whole.status_code, str(error["code"]), error["param"]


class Neighbour:
    """A client that generates the same greedy text over and over; each must be what it was at the first time."""

    def __init__(self, server: Server) -> None:
        self.longest_gap_s = 0.0
        self._server = server
        self._begun = threading.Event()
        self._enough = threading.Event()
        self._texts = [self._generate()]
        self._thread = threading.Thread(target=self._go_on)

    def _generate(self) -> str:
        body = {"model": MODEL, "prompt": "A neighbour", "max_tokens": 250, "temperature": 0, "ignore_eos": True}
        text, last = "", time.monotonic()
        with httpx.stream("POST", f"{self._server.url}{COMPLETION}", json=body | {"stream": True}, timeout=60) as lines:
            for line in lines.iter_lines():
                if line == "data: [DONE]":
                    return text
                if line.startswith("data: "):
                    self._begun.set()
                    self.longest_gap_s = max(self.longest_gap_s, time.monotonic() - last)
                    last = time.monotonic()
                    text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
        raise AssertionError("the stream ended without [DONE]")

    def _go_on(self) -> None:
        while not self._enough.is_set():
            self._texts.append(self._generate())

    def __enter__(self) -> Self:
        self._begun.clear()
        self._thread.start()
        assert self._begun.wait(30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._enough.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the neighbour's answer did not come"
        assert len(self._texts) > 1
        assert set(self._texts) == {self._texts[0]}


@pytest.fixture
def neighbour(server: Server) -> Iterator[Neighbour]:
    """An unrelated client that generates from before the test to after it."""
    with Neighbour(server) as neighbour:
        yield neighbour
