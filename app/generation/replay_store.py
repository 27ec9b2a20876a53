"""Replies that survive their wires: all their logs within one bound, and who may come back to which.

Does not know the wires, nor how a log works: `app.generation.replay` does.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from app.generation.replay import LOG_BYTES, TOKEN_BYTES, LogReader, ReplyLog
from app.generation.stream import LiveReply
from protocol.errors import Fault, TwowireError


@dataclass(frozen=True, slots=True)
class ResumeLimits:
    """How long logs are kept, and how large they grow: each, and all together."""

    grace_max_s: float = 120.0
    log_max_bytes: int = 4 << 20
    logs_max_bytes: int = 256 << 20
    owner_max_bytes: int | None = None
    """Of one key's logs together; None for all that there is."""
    keep_finished_s: float = 120.0


class ReplyLogs:
    """All logs, within one bound, found by id by those who have the key and the token."""

    def __init__(self, limits: ResumeLimits) -> None:
        self.limits = limits
        self.bytes = 0
        self._by_owner: Counter[str | None] = Counter()
        self._logs: dict[str, ReplyLog] = {}
        self._expiring: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._logs)

    def keep(self, reply: LiveReply, owner: str | None, grace_s: float) -> LogReader:
        """Keep `reply` in a log from now on; its first reader reads from the start."""
        kept = self._logs[reply.id] = ReplyLog(reply, owner, grace_s, self)
        self.count(owner, LOG_BYTES)
        if not self._make_room(owner, 0):
            self.shrink_others(kept, 0)
        return kept.attach(0)

    def resume(self, answer_id: str, owner: str | None, token: str, starting_after: int) -> LogReader:
        """A new reader. Raises `TwowireError`: the same 404 for every reason why there is nothing to find."""
        kept = self._logs.get(answer_id)
        # Compared also where there is no such log, so that the time does not tell.
        wanted = kept.token if kept is not None else secrets.token_urlsafe(TOKEN_BYTES)
        is_right = hmac.compare_digest(token.encode(), wanted.encode())
        if kept is None or not is_right or kept.owner != owner:
            raise not_found()
        return kept.attach(starting_after)

    def find(self, answer_id: str, owner: str | None) -> ReplyLog | None:
        """The log of that id, if it belongs to `owner`."""
        kept = self._logs.get(answer_id)
        return kept if kept is not None and kept.owner == owner else None

    def count(self, owner: str | None, size: int) -> None:
        """The logs of `owner` have grown by `size` bytes; less than nothing: shrunk."""
        self.bytes += size
        self._by_owner[owner] += size
        if not self._by_owner[owner]:
            del self._by_owner[owner]

    def has_room(self, kept: ReplyLog, size: int) -> bool:
        """`kept` may grow by `size`. What is finished and not being read makes room: the oldest of its owner, where
        that has too much, and otherwise of the owner that has most."""
        return kept.bytes + size <= self.limits.log_max_bytes and self._make_room(kept.owner, size)

    def _make_room(self, owner: str | None, size: int) -> bool:
        while self._is_owner_over(owner, size):
            if not self._discard_one_of([owner]):
                return False
        while self._is_over(owner, size):
            if not self._discard_one_of([name for name, _ in self._by_owner.most_common()]):
                return False
        return True

    def shrink_others(self, kept: ReplyLog, size: int) -> None:
        """Make room for `kept`, which has nothing to drop itself: the largest logs drop their oldest chunks."""
        others = sorted(self._logs.values(), key=lambda other: other.bytes, reverse=True)
        for is_over, candidates in (
            (self._is_owner_over, [other for other in others if other.owner == kept.owner]),
            (self._is_over, others),
        ):
            for other in candidates:
                while is_over(kept.owner, size) and other.can_drop:
                    other.drop_oldest()

    def _is_over(self, owner: str | None, size: int) -> bool:
        return self.bytes + size > self.limits.logs_max_bytes

    def _is_owner_over(self, owner: str | None, size: int) -> bool:
        bound = self.limits.owner_max_bytes
        return bound is not None and self._by_owner[owner] + size > bound

    def _discard_one_of(self, owners: Iterable[str | None]) -> bool:
        """Forget the oldest log that nobody needs now, of the first owner that has one."""
        idle = [kept for kept in self._logs.values() if kept.is_finished and not kept.is_read]
        for owner in owners:
            for kept in idle:
                if kept.owner == owner:
                    self._start_discard(kept)
                    return True
        return False

    def expire(self, kept: ReplyLog) -> None:
        """Nobody came in time."""
        self._start_discard(kept)

    def _start_discard(self, kept: ReplyLog) -> None:
        if self._logs.pop(kept.id, None) is not None:
            self.count(kept.owner, -LOG_BYTES)
            if kept.is_finished:
                kept.drop_all()
            task = asyncio.create_task(kept.discard())
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)

    async def discard(self, kept: ReplyLog) -> None:
        """Forget `kept`, now."""
        self._start_discard(kept)
        await asyncio.gather(*self._expiring)

    async def close(self) -> None:
        """Forget all."""
        for kept in list(self._logs.values()):
            self._start_discard(kept)
        await asyncio.gather(*self._expiring)


def not_found() -> TwowireError:
    """What is said of a completion that is not there, or not the asker's: the one must look like the other."""
    return TwowireError(Fault.COMPLETION_NOT_FOUND, "There is no such completion, or it is not yours.", param="id")
