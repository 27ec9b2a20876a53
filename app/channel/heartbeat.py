"""The time limits of one connection: pings, silence, age, disuse, and a client that does not read."""

from __future__ import annotations

from dataclasses import dataclass

from app.channel.limits import HEARTBEAT_MISSED, SERVER_FAULT, Closing
from app.config.channel import ChannelLimits
from protocol.errors import Fault, TwowireError


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping; `t` is the connection's age in seconds."""

    t: float


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Send the error, then close."""

    error: TwowireError
    reason: str


class Heartbeat:
    """Knows when a connection opened, was heard and was used; `check` says what is due. Times are in seconds."""

    def __init__(self, limits: ChannelLimits, now: float) -> None:
        self.heard_at = self.used_at = now
        self._opened_at = self._pinged_at = now
        self._limits = limits

    @property
    def interval_s(self) -> float:
        """How often to `check`: a few times per shortest limit."""
        limits = self._limits
        return (
            min(
                limits.send_timeout_s,
                limits.ping_interval_s,
                limits.idle_timeout_s,
                limits.max_age_s,
                limits.unused_timeout_s,
            )
            / 4
        )

    def check(self, now: float, stuck_s: float, *, has_streams: bool) -> Closing | Goodbye | Ping | None:
        """What to do at `now`. `stuck_s`: how long the frame that is being sent has not been taken."""
        limits = self._limits
        if stuck_s >= limits.send_timeout_s:
            return Closing(SERVER_FAULT, "the client does not read", is_stuck=True)
        if now - self.heard_at >= limits.idle_timeout_s:
            return Closing(HEARTBEAT_MISSED, f"nothing was heard for {limits.idle_timeout_s:g} s")
        if now - self._opened_at >= limits.max_age_s:
            error = TwowireError(
                Fault.CONNECTION_TOO_OLD, f"The connection is {limits.max_age_s:g} s old; connect again."
            )
            return Goodbye(error, "the connection's age limit")
        if not has_streams and now - self.used_at >= limits.unused_timeout_s:
            message = f"Closed after {limits.unused_timeout_s:g} s without requests."
            return Goodbye(TwowireError(Fault.CONNECTION_UNUSED, message), "the connection was not used")
        if now - self._pinged_at >= limits.ping_interval_s:
            self._pinged_at = now
            return Ping(round(now - self._opened_at, 3))
        return None
