"""The responses of `POST /v1/shout`."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from pydantic import BaseModel

from protocol.encoder import Event, NamedEvent
from protocol.errors import TwowireError
from protocol.output import Delta, Usage


class Shout(BaseModel):
    """A whole response, or one event of a stream."""

    shout: str


def error_body(error: TwowireError, request_id: str | None = None) -> bytes:
    """An error in this API's form."""
    return orjson.dumps({"oops": error.message})


class ShoutEncoder:
    """Encodes a stream."""

    text_template: tuple[bytes, bytes] | None = None
    """The fast path sends a text as it is, and this API changes it."""

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        return []

    def encode(self, delta: Delta) -> list[Event]:
        return [orjson.dumps({"shout": delta.text.upper()})] if delta.text else []

    def closing(self, usage: Usage) -> list[Event]:
        return [NamedEvent(b"end", orjson.dumps({"words": usage.completion_tokens}))]

    def error(self, error: TwowireError) -> list[Event]:
        return [NamedEvent(b"oops", error_body(error))]


class ShoutCollector:
    """Collects a whole response."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, deltas: Iterable[Delta]) -> None:
        self._texts += [delta.text.upper() for delta in deltas]

    def body(self, usage: Usage) -> bytes:
        return orjson.dumps({"shout": "".join(self._texts)})
