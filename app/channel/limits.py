"""What one connection may do, and the codes it is closed with."""

from __future__ import annotations

from dataclasses import dataclass

# Close codes: RFC 6455, section 7.4.1, and this protocol's own from 4400 on.
GOING_AWAY = 1001
PROTOCOL_ABUSE = 1008
MESSAGE_TOO_BIG = 1009
SERVER_FAULT = 1011
DRAINING = 1012
HEARTBEAT_MISSED = 4408
TAKEN_OVER = 4409


@dataclass(frozen=True, slots=True)
class Closing:
    """Why a channel ends. `is_stuck`: nothing can be sent any more, so the connection is cut."""

    code: int
    reason: str
    is_stuck: bool = False


LEFT = Closing(GOING_AWAY, "closed")
"""The client left, or the server stopped."""


class Allowance:
    """A token bucket for messages: `rate` a second, and twice as many at once."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._left = 2.0 * rate
        self._counted_at = now

    def take(self, now: float) -> bool:
        """Count a message that came at `now`. False: it is one too many."""
        self._left = min(2.0 * self._rate, self._left + (now - self._counted_at) * self._rate) - 1
        self._counted_at = now
        return self._left >= 0


def is_larger(message: str | bytes | None, max_bytes: int) -> bool:
    """Whether a message has more than `max_bytes` bytes.

    hypercorn 0.18 cuts larger messages off early, but counts characters, of up to four bytes each.
    """
    if not isinstance(message, str) or len(message) * 4 <= max_bytes:
        return False
    return len(message.encode(errors="replace")) > max_bytes
