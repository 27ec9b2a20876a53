"""All replay buffers of a server: one byte budget for all, and who may resume which.

A buffer is in the process that runs its generation; its id says which one that is.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import secrets
from collections import Counter
from collections.abc import Iterable
from typing import Any

from app.config.channel import ResumeLimits
from app.generation.replay.buffer import BUFFER_BYTES, ReplayBuffer
from app.generation.replay.elsewhere import Elsewhere
from app.generation.replay.reader import Follower, ReplayReader
from app.generation.stream import LiveStream
from protocol.errors import Fault, TwowireError

TOKEN_BYTES = 16


class ReplayStore:
    """All buffers within one budget, found by id; only the right key and token give access."""

    def __init__(self, limits: ResumeLimits) -> None:
        self.limits = limits
        self.elsewhere: Elsewhere | None = None
        """Where to ask for generations that do not run in this process."""
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
        if (elsewhere := self._elsewhere(answer_id)) is not None:
            return await elsewhere.read("resume", answer_id, owner, token, starting_after)
        buffer = self._buffers.get(answer_id)
        is_right = _is_right(token, buffer.token if buffer is not None else "")
        if buffer is None or not is_right or buffer.owner != owner:
            raise not_found()
        return buffer.attach(starting_after)

    async def follow(self, answer_id: str, token: str, starting_after: int) -> ReplayReader:
        """A new follower, with any key: the token is the permission. Raises `TwowireError` as `resume` does."""
        if (elsewhere := self._elsewhere(answer_id)) is not None:
            return await elsewhere.read("follow", answer_id, None, token, starting_after)
        buffer = self._buffers.get(answer_id)
        is_right = _is_right(token, buffer.follow_token if buffer is not None else "")
        if buffer is None or not is_right:
            raise not_found()
        return _follower(buffer, starting_after)

    async def watch(self, answer_id: str, owner: str | None, starting_after: int) -> ReplayReader:
        """A new follower of a generation of the same owner. Raises `TwowireError` as `follow` does."""
        if (elsewhere := self._elsewhere(answer_id)) is not None:
            return await elsewhere.read("watch", answer_id, owner, "", starting_after)
        buffer = self.find(answer_id, owner)
        if buffer is None:
            raise not_found()
        return _follower(buffer, starting_after)

    def _elsewhere(self, answer_id: str) -> Elsewhere | None:
        return self.elsewhere if self.elsewhere is not None and self.elsewhere.has(answer_id) else None

    async def ask(self, operation: str, answer_id: str, owner: str | None) -> Any:
        """The result of an operation on a generation elsewhere; None if it is here, or its server unreachable."""
        elsewhere = self._elsewhere(answer_id)
        return None if elsewhere is None else await elsewhere.ask(operation, answer_id, owner)

    def background_count(self, owner: str | None) -> int:
        """How many streams of `owner` run in the background."""
        return sum(buffer.owner == owner and buffer.is_background for buffer in self._buffers.values())

    def find(self, answer_id: str, owner: str | None) -> ReplayBuffer | None:
        """The buffer of that id, if it is here and belongs to `owner`."""
        buffer = self._buffers.get(answer_id)
        return buffer if buffer is not None and buffer.owner == owner else None

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
            task = asyncio.create_task(buffer.discard())
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)

    async def discard(self, buffer: ReplayBuffer) -> None:
        """Discard `buffer` and wait until it is gone."""
        self._start_discard(buffer)
        await asyncio.gather(*self._expiring)

    async def close(self) -> None:
        """Discard all buffers."""
        for buffer in list(self._buffers.values()):
            self._start_discard(buffer)
        await asyncio.gather(*self._expiring)


def _follower(buffer: ReplayBuffer, starting_after: int) -> Follower:
    follower = Follower(buffer, starting_after)
    buffer.follow(follower)
    return follower


def _is_right(token: str, wanted: str) -> bool:
    # Compared in any case, so that timing does not reveal whether the generation exists.
    is_equal = hmac.compare_digest(token.encode(), (wanted or secrets.token_urlsafe(TOKEN_BYTES)).encode())
    return is_equal and wanted != ""


def not_found() -> TwowireError:
    """The error for a completion that does not exist or belongs to another key: the two must look the same."""
    return TwowireError(Fault.COMPLETION_NOT_FOUND, "There is no such completion, or it is not yours.", param="id")
