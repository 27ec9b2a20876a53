"""The store on a Redis or Valkey server (6 or newer), which several servers share.

Buckets are counted by one script, with the clock of the store, so that clocks that differ do not matter.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Awaitable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.stores.base import Draw, Drawn, StoreOptions

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX = "twowire:"
"""What the names of all keys begin with."""

RUN_TIMEOUT_S = 10.0
"""How long the store may take for a script by `run`: it may take or return many megabytes."""

MAX_CONNECTIONS = 32
"""Of one client. Calls beyond that wait for a connection, as long as for an answer."""


class Script:
    """A Lua script, which the store runs as one atomic step."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def digest(self) -> str:
        """The name under which the store keeps it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


DRAW = Script("""
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local granted, levels, states = 1, {}, {}
for i, key in ipairs(KEYS) do
    local at = (i - 1) * 5
    local limit, needed, used, used_over = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 4]),
        tonumber(ARGV[at + 5])
    local level, counted = limit, now - used_over
    local kept = redis.call('GET', key)
    if kept then
        level, counted = struct.unpack('dd', kept)
    end
    if used ~= 0 then
        local since = now - used_over
        level = math.min(limit, level + math.max(0, since - counted) * limit / 60)
        counted = math.max(since, counted)
        level = level - used
    end
    level = math.min(limit, level + math.max(0, now - counted) * limit / 60)
    levels[i], states[i] = level, math.max(now, counted)
    if level < needed then
        granted = 0
    end
end
local reply = {granted}
for i, key in ipairs(KEYS) do
    local at = (i - 1) * 5
    local limit, amount, used = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    if granted == 0 then
        amount = 0
    end
    local level = math.min(limit, levels[i] - amount)
    if level >= limit then
        redis.call('DEL', key)
    elseif amount ~= 0 or used ~= 0 then
        local full_in_ms = math.ceil((limit - level) * 60000 / limit) + 1
        redis.call('SET', key, struct.pack('dd', level, states[i]), 'PX', full_in_ms)
    end
    reply[i + 1] = string.format('%.6f', level)
end
return reply
""")
"""Does what `MemoryStore.draw` does. A bucket is its level and when that was counted; a full one is not kept.

ARGV: five numbers for each key, the fields of its `Draw`: per_minute, needed, amount, used, used_over_s.
"""

NOTHING = -1e300
"""Stands for minus infinity, which Lua's `tonumber` need not read."""


class StoreUnavailable(Exception):
    """The store does not answer, or not in time. The message holds no password."""


class RedisStore:
    """Implements `app.stores.base.Store`. All methods raise `StoreUnavailable`."""

    is_shared = True

    def __init__(self, options: StoreOptions) -> None:
        """Connects when it is first used. Raises `ImportError` without redis-py, `ValueError` for a wrong URL."""
        import redis.exceptions

        self.client = connect(options, options.store_timeout_s)
        self._patient = connect(options, max(options.store_timeout_s, RUN_TIMEOUT_S))
        self._failures = (redis.exceptions.RedisError, OSError, TimeoutError)
        self._not_loaded = redis.exceptions.NoScriptError

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._answer(self.client.set(PREFIX + key, value, px=None if ttl_s is None else math.ceil(ttl_s * 1000)))

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = await self._answer(self.client.get(PREFIX + key))
        return value

    async def delete(self, key: str) -> None:
        await self._answer(self.client.delete(PREFIX + key))

    async def claim(self, key: str, ttl_s: float) -> bool:
        answer = await self._answer(self.client.set(PREFIX + key, b"", px=math.ceil(ttl_s * 1000), nx=True))
        return answer is not None

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        keys = [PREFIX + draw.key for draw in draws]
        numbers = [
            number
            for draw in draws
            for number in (
                draw.per_minute,
                max(draw.needed, NOTHING),
                draw.amount,
                draw.used,
                draw.used_over_s,
            )
        ]
        reply = await self._run(self.client, DRAW, keys, numbers)
        return Drawn(bool(reply[0]), tuple(map(float, reply[1:])))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        """Run a script and return its reply: numbers, bytes, None, and lists of them.

        It may take `RUN_TIMEOUT_S`, as what it takes and returns may be large.
        """
        return await self._run(self._patient, script, keys, arguments)

    async def _run(
        self, client: Redis, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]
    ) -> Any:
        named: tuple[Any, ...] = (*keys, *arguments)
        try:
            return await self._answer(client.evalsha(script.digest, len(keys), *named))
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, self._not_loaded):
                raise
            return await self._answer(client.eval(script.text, len(keys), *named))

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless it answers and takes writes."""
        await self.put("check", b"", ttl_s=1)

    def start(self) -> None:
        pass

    async def close(self) -> None:
        await self.client.aclose()
        await self._patient.aclose()

    async def _answer(self, call: Awaitable[Any] | Any) -> Any:
        try:
            return await call
        except self._failures as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


def connect(options: StoreOptions, timeout_s: float) -> Redis:
    """A client that answers or fails within `timeout_s`. It connects when it is used.

    Raises `ImportError` without redis-py, `ValueError` for a URL with arguments that are wrong.
    """
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    password = options.store_password
    pool = BlockingConnectionPool.from_url(
        options.store.get_secret_value(),
        max_connections=MAX_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=options.store_timeout_s,
        # The caller counts for itself at once; trying again is for the breaker.
        retry=Retry(NoBackoff(), 0),
        # What only newer servers know, and Valkey does not.
        protocol=2,
        driver_info=None,
        **({} if password is None else {"password": password.get_secret_value()}),
    )
    pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py; it checks the arguments and does not connect
    return Redis.from_pool(pool)
