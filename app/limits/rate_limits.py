"""How many requests and tokens each client may have in a minute: token buckets, OpenAI's headers, and the 429.

Does not know the wires, nor who a client is: an API key's label, or an address where there are no keys.

A bucket holds a minute's allowance and is refilled evenly. A prompt is taken from it before it runs; the tokens of the
answer are taken as they come, and may overdraw it: what runs is never cut, but nothing new begins before the debt is
paid. They are read from the running generations when somebody asks, which costs nothing per token.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from protocol.errors import Fault, TwowireError

MINUTE_S = 60.0
HEADERS = tuple(
    f"x-ratelimit-{what}-{name}" for name in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)
"""OpenAI's names of all headers that an answer may have."""
FIRST_SWEEP = 1024
"""From so many clients on, those whose buckets are full again are forgotten now and then."""


class Spender(Protocol):
    """What makes tokens: a generation."""

    @property
    def usage(self) -> Any:
        """Has `completion_tokens`: those so far."""


class Bucket:
    """`per_minute` at once, and as many again each minute. All times are of one clock, in seconds."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._counted_at = now

    def level(self, now: float) -> float:
        """What is in it; negative where it is overdrawn."""
        return min(float(self.per_minute), self._refilled(now))

    def _refilled(self, now: float) -> float:
        return self._level + max(0.0, now - self._counted_at) * self.per_minute / MINUTE_S

    def take(self, amount: int, now: float) -> None:
        """Take `amount` at once, whether or not there is as much; less than nothing is given back."""
        self._set(self.level(now) - amount, now)

    def take_evenly(self, amount: int, now: float) -> None:
        """Take `amount`, which has come little by little since it was counted last, and was refilled meanwhile."""
        self._set(self._refilled(now) - amount, now)

    def _set(self, level: float, now: float) -> None:
        self._level = min(float(self.per_minute), level)
        self._counted_at = max(now, self._counted_at)

    def wait_s(self, amount: float, now: float) -> float:
        """How long until `amount` is in it: 0 where it is, infinite where it never will be."""
        if amount > self.per_minute:
            return math.inf
        return max(0.0, amount - self.level(now)) * MINUTE_S / self.per_minute


class _Account:
    """One client's buckets, and how much of each of its generations has been taken from them."""

    def __init__(self, requests: Bucket | None, tokens: Bucket | None) -> None:
        self.requests = requests
        self.tokens = tokens
        self.taken: dict[Spender, int] = {}

    def settle(self, now: float) -> None:
        """Take what the running generations have made since the last time."""
        if self.tokens is None:
            return
        fresh = 0
        for spender, taken in self.taken.items():
            made = spender.usage.completion_tokens
            fresh += made - taken
            self.taken[spender] = made
        self.tokens.take_evenly(fresh, now)

    def is_as_new(self, now: float) -> bool:
        buckets = [bucket for bucket in (self.requests, self.tokens) if bucket is not None]
        return not self.taken and all(bucket.level(now) >= bucket.per_minute for bucket in buckets)


class RateLimits:
    """The accounts of all clients; without limits it does nothing."""

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests_per_minute = requests_per_minute
        self._tokens_per_minute = tokens_per_minute
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._owners: dict[Spender, _Account] = {}
        self._sweep_at = FIRST_SWEEP

    def __bool__(self) -> bool:
        """There is a limit."""
        return self._requests_per_minute is not None or self._tokens_per_minute is not None

    def __len__(self) -> int:
        """Clients that are kept in mind."""
        return len(self._accounts)

    def _account(self, client: str, now: float) -> _Account:
        account = self._accounts.get(client)
        if account is None:
            if len(self._accounts) >= self._sweep_at:
                self._accounts = {name: kept for name, kept in self._accounts.items() if not kept.is_as_new(now)}
                self._sweep_at = max(FIRST_SWEEP, 2 * len(self._accounts))
            limits = (self._requests_per_minute, self._tokens_per_minute)
            buckets = [None if limit is None else Bucket(limit, now) for limit in limits]
            account = self._accounts[client] = _Account(*buckets)
        account.settle(now)
        return account

    def admit(self, client: str) -> None:
        """Count one request of `client`; raise `TwowireError` (429) where it is one too many, and count nothing.

        Called before anything is read or rendered. It refuses, too, where the client's tokens are used up.
        """
        if not self:
            return
        now = self._clock()
        account = self._account(client, now)
        if account.requests is not None:
            _check(account.requests, 1, now, Fault.TOO_MANY_REQUESTS, "requests")
        if account.tokens is not None:
            _check(account.tokens, 1, now, Fault.TOO_MANY_TOKENS, "tokens")
        if account.requests is not None:
            account.requests.take(1, now)

    def reserve(self, client: str, prompt_tokens: int) -> None:
        """Take a prompt's tokens; raise `TwowireError` (429) where there are not as many, and take none."""
        if self._tokens_per_minute is None:
            return
        now = self._clock()
        tokens = self._account(client, now).tokens
        assert tokens is not None
        _check(tokens, prompt_tokens, now, Fault.TOO_MANY_TOKENS, "tokens")
        tokens.take(prompt_tokens, now)

    def spend(self, client: str, amount: int) -> None:
        """Take tokens that have been used already; less than nothing gives back what was reserved in vain."""
        if self._tokens_per_minute is not None:
            now = self._clock()
            tokens = self._account(client, now).tokens
            assert tokens is not None
            tokens.take(amount, now)

    def follow(self, client: str, spender: Spender) -> None:
        """Take what `spender` makes from now on, until it has `ended`."""
        if self._tokens_per_minute is not None:
            account = self._owners[spender] = self._account(client, self._clock())
            account.taken[spender] = spender.usage.completion_tokens

    def ended(self, spender: Spender) -> None:
        """It makes no more."""
        account = self._owners.pop(spender, None)
        if account is not None:
            account.settle(self._clock())
            del account.taken[spender]

    def standing(self, client: str) -> list[dict[str, Any]]:
        """What is left to `client`: for each limit its `name`, `limit`, `remaining` and `reset_seconds`.

        The form is that of `rate_limits` in OpenAI's Realtime interface.
        """
        if not self:
            return []
        now = self._clock()
        account = self._account(client, now)
        named = {"requests": account.requests, "tokens": account.tokens}
        return [
            {
                "name": name,
                "limit": bucket.per_minute,
                "remaining": max(0, math.floor(bucket.level(now))),
                "reset_seconds": round(bucket.wait_s(bucket.per_minute, now), 3),
            }
            for name, bucket in named.items()
            if bucket is not None
        ]

    def headers(self, client: str) -> Mapping[str, str]:
        """The same as OpenAI's HTTP headers (its guide «Rate limits», «Rate limits in headers»)."""
        headers = {}
        for limit in self.standing(client):
            name = limit["name"]
            headers[f"x-ratelimit-limit-{name}"] = str(limit["limit"])
            headers[f"x-ratelimit-remaining-{name}"] = str(limit["remaining"])
            headers[f"x-ratelimit-reset-{name}"] = duration(limit["reset_seconds"])
        return headers


def _check(bucket: Bucket, amount: int, now: float, fault: Fault, name: str) -> None:
    wait_s = bucket.wait_s(amount, now)
    if wait_s == 0:
        return
    if math.isinf(wait_s):
        message = f"The request needs {amount} {name}; {bucket.per_minute} a minute are allowed."
        raise TwowireError(fault, message)
    left = max(0, math.floor(bucket.level(now)))
    message = (
        f"Too many {name}: {bucket.per_minute} a minute are allowed, {left} are left, {amount} are needed; "
        f"try again in {duration(wait_s)}."
    )
    raise TwowireError(fault, message, retry_after_s=math.ceil(wait_s))


def duration(seconds: float) -> str:
    """Seconds as OpenAI's headers write them, which is Go's way: `20ms`, `1.5s`, `6m0s`, `1h0m2s`. Rounded up."""
    total_ms = math.ceil(round(seconds * 1000, 3))
    if 0 < total_ms < 1000:
        return f"{total_ms}ms"
    minutes, rest_ms = divmod(total_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest_ms / 1000:g}s"
    if minutes or hours:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
