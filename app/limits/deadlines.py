"""How long a request may take: the server's limits, and what the client asks for within them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.deadlines import Deadlines
from protocol.errors import Fault, TwowireError

REQUEST_TIMEOUT_HEADER = "X-Request-Timeout"


def asked_timeout(values: Sequence[str]) -> float | None:
    """The seconds in `values`, the request's headers `X-Request-Timeout`. Raises `TwowireError` (400)."""
    if not values:
        return None
    try:
        timeout_s = float(values[0])
    except ValueError:
        timeout_s = 0.0
    if len(values) > 1 or not (math.isfinite(timeout_s) and timeout_s > 0):
        message = f"{REQUEST_TIMEOUT_HEADER} must be one number of seconds, above 0."
        raise TwowireError(Fault.INVALID_VALUE, message, param=REQUEST_TIMEOUT_HEADER)
    return timeout_s


@dataclass(frozen=True, slots=True)
class DeadlineLimits:
    """How long requests may take, in seconds: to their first token, and to their end. None for no limit."""

    first_token_s: float | None = None
    request_s: float | None = None

    def starting_now(self, asked_s: float | None) -> Deadlines:
        """The deadlines of a request that begins now; `asked_s` is the client's own limit, within the server's."""
        limits = [limit for limit in (self.request_s, asked_s) if limit is not None]
        return Deadlines(self.first_token_s, min(limits, default=None))
