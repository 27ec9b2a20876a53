"""The store's interface: what several servers share, such as used tickets and rate limits.

Everything a server over the network needs to implement it is in the arguments: keys are strings, values are bytes, no
call takes a callback, and whatever must be atomic is one call. `MemoryStore` keeps all of it in this process,
`app.stores.redis` on a Redis server.

A request awaits the store a few times. A token never does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, Protocol
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from engine.option import Option

REDIS_SCHEMES = ("redis", "rediss", "unix")
MEMORY = "memory"


def _check_store(store: SecretStr) -> SecretStr:
    url = store.get_secret_value()
    if url == MEMORY:
        return store
    # The value is not quoted: it may hold a password.
    shape = "must be memory, or a URL such as redis://HOST:6379/0, rediss://… (TLS) or unix:///PATH"
    try:
        parts = urlsplit(url)
        is_complete = bool(parts.path.strip("/") if parts.scheme == "unix" else parts.hostname)
        is_complete = is_complete and parts.port != 0
    except ValueError:
        raise ValueError(shape) from None
    if parts.scheme not in REDIS_SCHEMES or not is_complete:
        raise ValueError(shape)
    return store


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What several servers share, and where."""

    store: Annotated[
        SecretStr,
        Option(
            "Where to count rate limits and used tickets: memory, separately in each server; or the URL of a Redis or "
            "Valkey server that they share, redis://HOST:6379/0, rediss://… for TLS, or unix:///PATH. Requires the "
            "extra redis. Set a URL with a password in the environment or the file: other users of a machine can read "
            "its command lines.",
            shown="memory",
            metavar="WHERE",
            is_secret=True,
            check=_check_store,
        ),
    ] = field(default_factory=lambda: SecretStr(MEMORY))
    store_password: Annotated[
        SecretStr | None,
        Option(
            "The password of the store, if its URL has none. There is no flag, because other users of a machine can "
            "read its command lines.",
            shown="none",
            is_secret=True,
        ),
    ] = None
    store_timeout_s: Annotated[
        float,
        Option(
            "How long the store may take to answer. After that, and until it answers again, each server counts on its "
            "own.",
            gt=0,
        ),
    ] = 0.25

    @property
    def is_shared(self) -> bool:
        """Whether there is a store that other servers use as well."""
        return self.store.get_secret_value() != MEMORY

    @property
    def shown(self) -> str:
        """The store's address without its password, for logs and error messages."""
        parts = urlsplit(self.store.get_secret_value())
        host = parts.netloc.rpartition("@")[2]
        return SplitResult(parts.scheme, host, parts.path, "", "").geturl()


class Draw(NamedTuple):
    """What one call does with one token bucket, which holds `per_minute` tokens and refills as many each minute."""

    key: str
    per_minute: int
    needed: float = -math.inf
    """The call is refused unless the bucket holds this much."""
    amount: float = 0.0
    """Taken at once if the call is granted; gives back what is negative, up to a full bucket."""
    used: float = 0.0
    """Taken even if the call is refused: already used, evenly over the last `used_over_s` seconds."""
    used_over_s: float = 0.0


class Drawn(NamedTuple):
    """The result of a call. Levels are in the order of its draws; a bucket that is overdrawn has a negative one."""

    is_granted: bool
    levels: tuple[float, ...]


class Store(Protocol):
    """Shared state. Each method is atomic."""

    @property
    def is_shared(self) -> bool:
        """Whether other servers use it as well."""

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `value` for `ttl_s` seconds, or until deleted."""

    async def get(self, key: str) -> bytes | None:
        """The value of `key`; None if it was never put, was deleted, or has expired."""

    async def delete(self, key: str) -> None:
        """Delete `key` if it is there."""

    async def claim(self, key: str, ttl_s: float) -> bool:
        """Whether this is the first call for `key` in `ttl_s` seconds: of several callers, one gets True."""

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        """Draw from several buckets, from all of them or from none. A bucket not seen before is full."""

    def start(self) -> None:
        """Begin what the store does in the background."""

    async def close(self) -> None:
        """Release what the store holds."""
