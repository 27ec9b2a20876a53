"""All replay buffers of a server: one byte budget for all, and who may resume which.

A buffer is in the process that runs its generation. Which one that is, and who may resume it, is in `app.stores`.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from app.config.channel import ResumeLimits
from app.generation.replay import BUFFER_BYTES, ReplayBuffer
from app.generation.replay_reader import Follower, ReplayReader
from app.generation.stream import LiveStream
from app.stores.base import Store
from protocol.errors import Fault, TwowireError

TOKEN_BYTES = 16


class ReplayStore:
    """All buffers within one budget, found by id; only the right key and token give access."""

    def __init__(self, store: Store, limits: ResumeLimits) -> None:
        self.limits = limits
        self._store = store
        self._place = uuid.uuid4().hex
        self.bytes = 0
        self._by_owner: Counter[str | None] = Counter()
        self._buffers: dict[str, ReplayBuffer] = {}
        self._expiring: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._buffers)

    async def keep(self, stream: LiveStream, owner: str | None, grace_s: float) -> ReplayReader:
        """Buffer `stream` from now on; returns its first reader, from the start.

        With an infinite `grace_s` the stream runs to its end without a reader; otherwise the limit applies.
        """
        token, follow_token = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
        location = _Location(self._place, owner, token, follow_token)
        await self._store.put(_key(stream.id), orjson.dumps(location))
        buffer = self._buffers[stream.id] = ReplayBuffer(
            stream,
            owner,
            token,
            grace_s=grace_s if grace_s == math.inf else min(grace_s, self.limits.grace_max_s),
            keep_finished_s=self.limits.keep_finished_s,
            budget=self,
            expire=self._start_discard,
            follow_token=follow_token,
        )
        self.count(owner, BUFFER_BYTES)
        if not self._make_room(owner, 0):
            self.shrink_others(buffer, 0)
        return buffer.attach(0)

    async def resume(self, answer_id: str, owner: str | None, token: str, starting_after: int) -> ReplayReader:
        """A new reader. Raises `TwowireError`: one 404 for an unknown id, a wrong token and another key alike."""
        location = await self._locate(answer_id)
        is_right = _is_right(token, location.token if location is not None else "")
        if location is None or not is_right or location.owner != owner:
            raise not_found()
        buffer = self._buffer_at(location, answer_id)
        if buffer is None:
            raise not_found()
        return buffer.attach(starting_after)

    async def follow(self, answer_id: str, token: str, starting_after: int) -> Follower:
        """A new follower, with any key: the token is the permission. Raises `TwowireError` as `resume` does."""
        location = await self._locate(answer_id)
        is_right = _is_right(token, location.follow_token if location is not None else "")
        buffer = self._buffer_at(location, answer_id) if location is not None and is_right else None
        if buffer is None:
            raise not_found()
        follower = Follower(buffer, starting_after)
        buffer.follow(follower)
        return follower

    def background_count(self, owner: str | None) -> int:
        """How many streams of `owner` run in the background."""
        return sum(buffer.owner == owner and buffer.is_background for buffer in self._buffers.values())

    async def find(self, answer_id: str, owner: str | None) -> ReplayBuffer | None:
        """The buffer of that id, if it belongs to `owner`."""
        location = await self._locate(answer_id)
        return self._buffer_at(location, answer_id) if location is not None and location.owner == owner else None

    async def _locate(self, answer_id: str) -> _Location | None:
        value = await self._store.get(_key(answer_id))
        return None if value is None else _Location(**orjson.loads(value))

    def _buffer_at(self, location: _Location, answer_id: str) -> ReplayBuffer | None:
        # Another server's generation cannot be read from here; its clients are not sent here either.
        return self._buffers.get(answer_id) if location.place == self._place else None

    def count(self, owner: str | None, size: int) -> None:
        """Record that the buffers of `owner` grew by `size` bytes, or shrank if it is negative."""
        self.bytes += size
        self._by_owner[owner] += size
        if not self._by_owner[owner]:
            del self._by_owner[owner]

    def has_room(self, buffer: ReplayBuffer, size: int) -> bool:
        """Whether `buffer` may grow by `size` bytes, once finished buffers nobody reads have made room.

        The oldest go first: its owner's if that owner has too many bytes, else those of the owner with the most.
        """
        return buffer.bytes + size <= self.limits.log_max_bytes and self._make_room(buffer.owner, size)

    def _make_room(self, owner: str | None, size: int) -> bool:
        while self._is_owner_over(owner, size):
            if not self._discard_one_of([owner]):
                return False
        while self._is_over(owner, size):
            if not self._discard_one_of([name for name, _ in self._by_owner.most_common()]):
                return False
        return True

    def shrink_others(self, buffer: ReplayBuffer, size: int) -> None:
        """Make room for `buffer`, which has nothing to drop: the largest buffers drop their oldest chunks."""
        others = sorted(self._buffers.values(), key=lambda other: other.bytes, reverse=True)
        for is_over, candidates in (
            (self._is_owner_over, [other for other in others if other.owner == buffer.owner]),
            (self._is_over, others),
        ):
            for other in candidates:
                while is_over(buffer.owner, size) and other.can_drop:
                    other.drop_oldest()

    def _is_over(self, owner: str | None, size: int) -> bool:
        return self.bytes + size > self.limits.logs_max_bytes

    def _is_owner_over(self, owner: str | None, size: int) -> bool:
        bound = self.limits.owner_max_bytes
        return bound is not None and self._by_owner[owner] + size > bound

    def _discard_one_of(self, owners: Iterable[str | None]) -> bool:
        """Discard the oldest finished buffer nobody reads, of the first owner that has one."""
        idle = [buffer for buffer in self._buffers.values() if buffer.is_finished and not buffer.is_read]
        for owner in owners:
            for buffer in idle:
                if buffer.owner == owner:
                    self._start_discard(buffer)
                    return True
        return False

    def _start_discard(self, buffer: ReplayBuffer) -> None:
        if self._buffers.pop(buffer.id, None) is not None:
            self.count(buffer.owner, -BUFFER_BYTES)
            if buffer.is_finished:
                buffer.drop_all()
            task = asyncio.create_task(self._finish_discard(buffer))
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)

    async def _finish_discard(self, buffer: ReplayBuffer) -> None:
        await buffer.discard()
        await self._store.delete(_key(buffer.id))

    async def discard(self, buffer: ReplayBuffer) -> None:
        """Discard `buffer` and wait until it is gone."""
        self._start_discard(buffer)
        await asyncio.gather(*self._expiring)

    async def close(self) -> None:
        """Discard all buffers."""
        for buffer in list(self._buffers.values()):
            self._start_discard(buffer)
        await asyncio.gather(*self._expiring)


@dataclass(frozen=True, slots=True)
class _Location:
    """Where a resumable generation runs, and who may resume it."""

    place: str
    owner: str | None
    token: str
    follow_token: str = ""


def _is_right(token: str, wanted: str) -> bool:
    # Compared in any case, so that timing does not reveal whether the generation exists.
    is_equal = hmac.compare_digest(token.encode(), (wanted or secrets.token_urlsafe(TOKEN_BYTES)).encode())
    return is_equal and wanted != ""


def _key(answer_id: str) -> str:
    return f"replay:{answer_id}"


def not_found() -> TwowireError:
    """The error for a completion that does not exist or belongs to another key: the two must look the same."""
    return TwowireError(Fault.COMPLETION_NOT_FOUND, "There is no such completion, or it is not yours.", param="id")
