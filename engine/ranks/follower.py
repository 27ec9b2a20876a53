"""A follower: runs ranks for as long as its leader has the engine that they belong to.

vLLM's ranks report to a leader once. They cannot join its next engine, nor do they notice when it is gone: so a
follower watches the leader's `/health`, which names the leader's engine, and ends when that is another one.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import structlog

from engine.api import EngineStartError
from engine.processes.threads import in_daemon_thread

log = structlog.get_logger(__name__)

POLL_S = 0.5
ANSWER_S = 5.0
LOST_AFTER_S = 15.0
"""After so long without an answer, the leader is gone."""
MAX_ANSWER_BYTES = 1 << 16
STARTS = frozenset({"starting", "restarting"})
"""The states of a leader that waits for ranks, or will."""


class Ranks(Protocol):
    """The processes of a follower's ranks."""

    async def wait_dead(self) -> str:
        """Wait until one has ended; returns which."""

    def close(self) -> None:
        """End all of them at once."""


@dataclass(frozen=True, slots=True)
class LeaderHealth:
    """What a leader says of its engine."""

    engine_id: str
    """Empty where it does not say."""
    state: str
    digest: str = ""
    """Of what it has in common with its followers (`engine.startup.digest`); empty if it has none."""


BUSY = LeaderHealth("", "busy")
"""Of a leader that answers, but refuses to say more: it has as many connections as it may."""


def read_health(url: str) -> LeaderHealth | None:
    """The answer of the leader's `/health`; None if there is none. Blocks for up to `ANSWER_S`."""
    try:
        try:
            # Never through a proxy of the environment.
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"{url}/health", timeout=ANSWER_S) as answer:
                status, body = answer.status, answer.read(MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as refusal:  # 503 while it is not ready.
            status, body = refusal.code, refusal.read(MAX_ANSWER_BYTES)
        found = json.loads(body)
        if (
            status == HTTPStatus.SERVICE_UNAVAILABLE
            and "error" in found
            and found["error"]["code"] == "too_many_connections"
        ):
            return BUSY
        return LeaderHealth(str(found["engine_id"]), str(found["state"]), str(found.get("engine_digest") or ""))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            log.warning("leader_certificate_refused", reason=str(error))
        return None


NO_FOLLOWERS = (
    "the leader at {url} expects no followers, or runs another version of twowire; give it --data-parallel-size-local "
    "or --nnodes"
)
DIFFERS = (
    "the leader at {url} has a different model, engine options, or version of twowire or vLLM; start both with the same"
)


class Leader:
    """Watches the leader at a URL."""

    def __init__(
        self,
        url: str,
        digest: str,
        read: Callable[[str], LeaderHealth | None] = read_health,
        lost_after_s: float = LOST_AFTER_S,
    ) -> None:
        """`digest` is the follower's own (`engine.startup.digest`)."""
        self._url = url
        self._digest = digest
        self._read = read
        self._lost_after_s = lost_after_s

    async def _health(self) -> LeaderHealth | None:
        return await in_daemon_thread(lambda: self._read(self._url))

    async def wait_starting(self) -> str:
        """Wait until the leader starts an engine; returns its name. Raises `EngineStartError` if that is no match."""
        shown = ""
        while True:
            health = await self._health()
            if health is not None and health.state in STARTS:
                if health.digest != self._digest:
                    raise EngineStartError((DIFFERS if health.digest else NO_FOLLOWERS).format(url=self._url))
                return health.engine_id
            # Its present engine has a rank for each that it needs, or will be found to lack one.
            state = "unreachable" if health is None else health.state
            if state != shown:
                shown = state
                log.info("waiting_for_leader", leader=self._url, state=state)
            await asyncio.sleep(POLL_S)

    async def wait_other(self, engine_id: str) -> str:
        """Wait until the leader has another engine than `engine_id`, or is gone; returns which."""
        answered_at = time.monotonic()
        while True:
            health, now = await self._health(), time.monotonic()
            if health is not None:
                answered_at = now
                if health.engine_id not in (engine_id, BUSY.engine_id):
                    return "the leader's engine is another one"
            elif now - answered_at >= self._lost_after_s:
                return f"the leader has not answered for {self._lost_after_s:g} s"
            await asyncio.sleep(POLL_S)


async def follow(leader: Leader, start: Callable[[], Awaitable[Ranks]], stop: asyncio.Event) -> str | None:
    """Run ranks for one engine of the leader's. Returns why they ended; None if `stop` was set.

    Raises `EngineStartError` if the leader has another model or other options. `start` may raise; its processes are
    ended when it is cancelled.
    """
    stopping = asyncio.create_task(stop.wait())
    tasks: set[asyncio.Task[object]] = {stopping}

    async def first(task: asyncio.Task[object]) -> bool:
        """Wait for `task`; False if the follower is to stop before."""
        tasks.add(task)
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return not stopping.done()

    async def run() -> str:
        ranks = await start()
        log.info("ranks_started")
        try:
            return await ranks.wait_dead()
        finally:
            ranks.close()

    try:
        waiting: asyncio.Task[object] = asyncio.create_task(leader.wait_starting())
        if not await first(waiting):
            return None
        engine_id = str(waiting.result())
        log.info("leader_found", engine_id=engine_id)
        running: asyncio.Task[object] = asyncio.create_task(run())
        other: asyncio.Task[object] = asyncio.create_task(leader.wait_other(engine_id))
        tasks |= {running, other}
        done, _ = await asyncio.wait({running, other, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stopping in done:
            return None
        return str((running if running in done else other).result())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
