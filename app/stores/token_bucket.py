"""The arithmetic of a token bucket."""

from __future__ import annotations

import math

MINUTE_S = 60.0


class TokenBucket:
    """Holds `per_minute` tokens and refills as many each minute. Times are seconds of one monotonic clock."""

    __slots__ = ("_counted_at", "_level", "per_minute")

    def __init__(self, per_minute: int, full_at: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._counted_at = full_at

    def level(self, now: float) -> float:
        """How much is in it; negative if it is overdrawn."""
        return min(float(self.per_minute), self._refilled(now))

    def _refilled(self, now: float) -> float:
        return self._level + max(0.0, now - self._counted_at) * self.per_minute / MINUTE_S

    def take(self, amount: float, now: float) -> float:
        """Take `amount` at once, even if there is not as much; give back if it is negative. Returns the new level."""
        self._set(self.level(now) - amount, now)
        return self._level

    def take_evenly(self, amount: float, now: float, over_s: float) -> None:
        """Take `amount` as it was used: evenly over the last `over_s` seconds, against the refill of that time."""
        self._set(self.level(now - over_s), now - over_s)
        self._set(self._refilled(now) - amount, now)

    def _set(self, level: float, now: float) -> None:
        self._level = min(float(self.per_minute), level)
        self._counted_at = max(now, self._counted_at)


def wait_s(amount: float, level: float, per_minute: int) -> float:
    """How long until a bucket at `level` holds `amount`, in seconds: 0 if it does, infinite if it never can."""
    if amount > per_minute:
        return math.inf
    return max(0.0, amount - level) * MINUTE_S / per_minute
