"""How long a client asks a request to take at most."""

from __future__ import annotations

import math
from collections.abc import Sequence

from protocol.errors import Fault, TwowireError

REQUEST_TIMEOUT_HEADER = "X-Request-Timeout"


def asked_timeout(values: Sequence[str]) -> float | None:
    """The seconds in `values`, all the request's `X-Request-Timeout` headers. Raises `TwowireError` (400)."""
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
