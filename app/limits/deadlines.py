"""How long a request may take: the server's limits, and what the client asks for within them.

Does not know what ends it then: `engine.deadlines` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.config.settings import Settings
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


def deadlines_of(settings: Settings, asked_s: float | None) -> Deadlines:
    """The deadlines of a request that begins now and wants to take `asked_s` at most; the server's limit holds."""
    limits = [limit for limit in (settings.request_timeout_s, asked_s) if limit is not None]
    return Deadlines(settings.first_token_timeout_s, min(limits, default=None))
