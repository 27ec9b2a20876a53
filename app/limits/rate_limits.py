"""Limits each client's requests and tokens per minute: token buckets, OpenAI's headers, and the 429.

A client is an API key, or without keys an address. A bucket holds a minute's allowance and refills evenly. A prompt's
tokens are taken before it runs. Completion tokens are taken as they come and may overdraw the bucket: a running
generation is never cut, but nothing new starts before the debt is paid. They are read off the running generations when
the client's bucket is next drawn from, so they cost nothing per token.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from app.config.connections import RatesPerMinute
from app.stores.base import Draw, Store
from app.stores.token_bucket import MINUTE_S, wait_s
from protocol.errors import Fault, TwowireError

HEADERS = tuple(
    f"x-ratelimit-{what}-{name}" for name in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)
"""OpenAI's names of all headers that a response may have."""
SETTLE_AFTER_S = 1.0
"""How long after the end of a generation its tokens are taken from the bucket, if nothing else draws from it."""
LEVELS_LAST_S = 1.0
"""How long after a request has drawn from a shared store its levels are good enough for the response's headers."""
MAX_LEVELS = 1024
FAULTS = {"requests": Fault.TOO_MANY_REQUESTS, "tokens": Fault.TOO_MANY_TOKENS}


class Spender(Protocol):
    """Uses tokens: a generation."""

    @property
    def usage(self) -> Any:
        """Has `completion_tokens`: those so far."""


class _Running:
    """One client's running generations in this process, and the tokens of theirs that the store has not seen."""

    def __init__(self, now: float) -> None:
        self.counted: dict[Spender, int] = {}
        self.counted_at = now
        self._owed = 0

    def ended(self, spender: Spender) -> None:
        self._owed += spender.usage.completion_tokens - self.counted.pop(spender)

    def owe(self, tokens: int, since: float) -> None:
        """Count tokens again that were used since then."""
        self._owed += tokens
        self.counted_at = min(self.counted_at, since)

    def pending(self) -> int:
        """The tokens used since `fresh` was last called."""
        running = sum(int(each.usage.completion_tokens) - counted for each, counted in self.counted.items())
        return self._owed + running

    def fresh(self) -> int:
        """The tokens used since the last call."""
        fresh, self._owed = self._owed, 0
        for spender, counted in self.counted.items():
            made = spender.usage.completion_tokens
            fresh += made - counted
            self.counted[spender] = made
        return fresh


class RateLimits:
    """The limits of one server on all its clients; without limits it does nothing."""

    def __init__(
        self,
        store: Store,
        rates: RatesPerMinute,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        named = {"requests": rates.requests_per_minute, "tokens": rates.tokens_per_minute}
        self._limits = {name: limit for name, limit in named.items() if limit is not None}
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._clients: dict[Spender, str] = {}
        self._ended: set[str] = set()
        self._levels: dict[str, tuple[float, dict[str, float]]] = {}
        """What requests have drawn last from a shared store, until their response's headers."""
        self._settle_after_s = SETTLE_AFTER_S
        self._timer: asyncio.TimerHandle | None = None
        self._settling: asyncio.Task[None] | None = None

    async def admit(self, client: str, *, keeps_half: bool = False) -> None:
        """Count one request of `client`. Raises `TwowireError` (429) if it is one too many; then none is counted.

        To be called before anything is read or rendered. It also refuses a client that has no tokens left. With
        `keeps_half`, half of a minute's allowance must be left: for what a client can do without.
        """
        if self._limits:
            needed = {name: 1 + (math.ceil(limit / 2) if keeps_half else 0) for name, limit in self._limits.items()}
            await self._draw(client, needed=needed, amounts={"requests": 1})

    async def reserve(self, client: str, tokens: int, *, is_estimate: bool = False, keeps_half: bool = False) -> None:
        """Take the tokens of a prompt. Raises `TwowireError` (429) if there are not as many; then none are taken.

        An estimate may be too high, so it never needs more than a full bucket, which it may overdraw. `keeps_half` is
        as for `admit`.
        """
        limit = self._limits.get("tokens")
        if limit is not None:
            needed = min(tokens, limit) if is_estimate else tokens
            if keeps_half:
                needed += math.ceil(limit / 2)
            await self._draw(client, needed={"tokens": needed}, amounts={"tokens": tokens})

    async def spend(self, client: str, amount: int) -> None:
        """Take tokens that have been used already; a negative amount gives back what was reserved in vain."""
        if "tokens" in self._limits:
            await self._draw(client, amounts={"tokens": amount})

    def follow(self, client: str, spender: Spender) -> None:
        """Take what `spender` uses from now on, until it has `ended`."""
        if "tokens" in self._limits:
            running = self._running.get(client)
            if running is None:
                running = self._running[client] = _Running(self._clock())
            running.counted[spender] = spender.usage.completion_tokens
            self._clients[spender] = client

    def ended(self, spender: Spender) -> None:
        """Stop following `spender`. What it used is taken with the client's next request, or soon without one."""
        client = self._clients.pop(spender, None)
        if client is not None:
            self._running[client].ended(spender)
            self._ended.add(client)
            self._settle_soon()

    def _settle_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settle_after_s, self._start_settling)

    def _start_settling(self) -> None:
        self._timer = None
        self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        while self._ended:
            client = self._ended.pop()
            if client in self._running:
                await self._draw(client)

    async def standing(self, client: str) -> list[dict[str, Any]]:
        """What is left to `client`: the `name`, `limit`, `remaining` and `reset_seconds` of each limit.

        This is the form of `rate_limits` in OpenAI's Realtime API.
        """
        if not self._limits:
            return []
        levels = self._drawn_lately(client) or await self._draw(client)
        return [
            {
                "name": name,
                "limit": limit,
                "remaining": max(0, math.floor(levels[name])),
                "reset_seconds": round(wait_s(limit, levels[name], limit), 3),
            }
            for name, limit in self._limits.items()
        ]

    async def headers(self, client: str) -> Mapping[str, str]:
        """The same as OpenAI's HTTP headers (its guide «Rate limits», «Rate limits in headers»)."""
        headers = {}
        for limit in await self.standing(client):
            name = limit["name"]
            headers[f"x-ratelimit-limit-{name}"] = str(limit["limit"])
            headers[f"x-ratelimit-remaining-{name}"] = str(limit["remaining"])
            headers[f"x-ratelimit-reset-{name}"] = duration(limit["reset_seconds"])
        return headers

    async def _draw(
        self, client: str, needed: Mapping[str, int] | None = None, amounts: Mapping[str, int] | None = None
    ) -> dict[str, float]:
        """Draw from the client's buckets, by name, and take what its generations have used; returns the levels.

        Raises `TwowireError` (429) if a bucket does not hold what is needed.
        """
        needed, amounts = needed or {}, amounts or {}
        used, used_over_s = self._used_by(client)
        draws = []
        for name, limit in self._limits.items():
            key, needs, takes = f"bucket:{name}:{client}", needed.get(name, -math.inf), amounts.get(name, 0)
            if name == "tokens":
                draws.append(Draw(key, limit, needs, takes, used, used_over_s))
            else:
                draws.append(Draw(key, limit, needs, takes))
        try:
            drawn = await self._store.draw(draws)
        except BaseException:
            self._put_back(client, used, used_over_s)
            raise
        levels = dict(zip(self._limits, drawn.levels, strict=True))
        if self._store.is_shared and amounts:
            if len(self._levels) >= MAX_LEVELS:
                self._levels.clear()
            self._levels[client] = self._clock(), levels
        if not drawn.is_granted:
            for name, amount in needed.items():
                if levels[name] < amount:
                    raise _refusal(name, amount, levels[name], self._limits[name])
        return levels

    def _drawn_lately(self, client: str) -> dict[str, float] | None:
        """The levels after the client's last draw, refilled since, or None. It saves a call of a shared store."""
        drawn_at, levels = self._levels.pop(client, (-math.inf, {}))
        elapsed_s = self._clock() - drawn_at
        if elapsed_s > LEVELS_LAST_S:
            return None
        running = self._running.get(client)
        used = {"tokens": 0 if running is None else running.pending()}
        return {
            name: min(limit, levels[name] + elapsed_s * limit / MINUTE_S) - used.get(name, 0)
            for name, limit in self._limits.items()
        }

    def _used_by(self, client: str) -> tuple[int, float]:
        """The tokens that the client's generations have used since this was last called, and for how long that is."""
        running = self._running.get(client)
        if running is None:
            return 0, 0.0
        now = self._clock()
        used_over_s = now - running.counted_at
        running.counted_at = now
        used = running.fresh()
        if not running.counted:
            del self._running[client]
        return used, used_over_s

    def _put_back(self, client: str, used: int, used_over_s: float) -> None:
        """Undo `_used_by`: the tokens could not be taken."""
        if used:
            now = self._clock()
            running = self._running.setdefault(client, _Running(now))
            running.owe(used, now - used_over_s)
            self._ended.add(client)
            self._settle_soon()


def _refusal(name: str, amount: int, level: float, per_minute: int) -> TwowireError:
    delay_s = wait_s(amount, level, per_minute)
    if math.isinf(delay_s):
        return TwowireError(FAULTS[name], f"The request needs {amount} {name}; {per_minute} a minute are allowed.")
    message = (
        f"Too many {name}: {per_minute} a minute are allowed, {max(0, math.floor(level))} are left, "
        f"{amount} are needed; try again in {duration(delay_s)}."
    )
    return TwowireError(FAULTS[name], message, retry_after_s=math.ceil(delay_s))


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
