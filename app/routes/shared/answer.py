"""What a route answers, whether Quart or `app.middleware.direct` sends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from quart import Response

JSON = "application/json"


@dataclass(slots=True)
class Answer:
    """A response that has not begun."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def as_response(self) -> Response:
        """The same for Quart."""
        response = Response(self.body, self.status, self.headers)
        # Quart's default cuts a stream after 60 s, in silence (Quart 0.22, RESPONSE_TIMEOUT).
        response.timeout = None
        return response


def json_answer(body: bytes, status: int = 200) -> Answer:
    """A JSON answer of bytes that are encoded already."""
    return Answer(body, status, {"Content-Type": JSON})
