"""The server with an engine that only counts, at a set pace: it starts in a second, and its memory is the server's own.

Run as `python -m tests.live.fake_server serve …flags…`. Everything but the engine is real: hypercorn, sockets, process.
FAKE_PACE_S is the time that a token takes; FAKE_WITHOUT names mends of `app.hypercorn_fixes` to leave out.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from app import hypercorn_fixes, server
from app.embedder_choice import choose_embedder
from app.services import Services, make_services, served_names
from app.settings import Settings, load_settings
from engine.api import EngineStream, Prepared, PreparedPrompt, StageReport
from engine.manager import AdmissionLimits, EngineManager
from protocol.chat import ChatCompletionRequest
from protocol.completion import CompletionRequest
from protocol.pieces import Piece

PACE_S = float(os.environ.get("FAKE_PACE_S", "0.01"))
ENDLESS = 10**9


def word(number: int) -> str:
    """The text of the answer's token `number`."""
    return f"{number} "


class PacedStream:
    """A token per `PACE_S` since it was opened; what nobody took in time is merged, as vLLM's collector does it."""

    cached_tokens = 0

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._made = 0
        self._opened_at = time.monotonic()
        self._ends_at = tokens
        self._woken = asyncio.Event()

    def _due(self) -> int:
        if PACE_S == 0:
            return min(self._made + 1, self._ends_at)
        return min(int((time.monotonic() - self._opened_at) / PACE_S), self._ends_at)

    async def next(self) -> list[Piece] | None:
        if self._made >= self._ends_at:
            return None
        await self._wait()
        first, self._made = self._made, max(self._due(), self._made)
        if first == self._made:
            return [] if self._made < self._ends_at else None
        text = "".join(map(word, range(first, self._made)))
        return [Piece(0, text, self._made - first, "length" if self._made == self._tokens else None)]

    async def _wait(self) -> None:
        if PACE_S == 0:
            await asyncio.sleep(0)
            return
        delay = self._opened_at + (self._made + 1) * PACE_S - time.monotonic()
        self._woken.clear()
        if delay > 0 and self._ends_at > self._made:
            try:
                await asyncio.wait_for(self._woken.wait(), delay)
            except TimeoutError:
                pass

    def wake(self) -> None:
        self._woken.set()

    async def cancel(self) -> None:
        self._ends_at = min(self._due(), self._ends_at)
        self.wake()

    async def close(self) -> None:
        self._ends_at = 0
        self.wake()


class PacedEngine:
    """Never dies."""

    max_model_len = ENDLESS

    async def prepare_chat(self, request: ChatCompletionRequest) -> Prepared:
        return self._prepared(request.output_token_limit)

    async def prepare_completion(self, request: CompletionRequest) -> Prepared:
        return self._prepared(request.output_token_limit)

    def _prepared(self, limit: int | None) -> Prepared:
        return Prepared((PreparedPrompt(3, object(), limit or ENDLESS),), 3)

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        assert isinstance(prompt.sampling, int)
        return PacedStream(prompt.sampling)

    async def wait_dead(self) -> str:
        await asyncio.Event().wait()
        return "never"

    async def close(self) -> None:
        pass


async def start(report: StageReport) -> PacedEngine:
    return PacedEngine()


def build_services(settings: Settings) -> Services:
    """As `app.server` does it, but for the engine."""
    limits = AdmissionLimits(settings.max_num_seqs, settings.max_queued)
    manager = EngineManager(start, limits, keepalive_s=settings.keepalive_s)
    return make_services(settings, manager, choose_embedder(settings, served_names(settings)))


def leave_out(names: str) -> None:
    for name in filter(None, names.split(",")):
        assert callable(getattr(hypercorn_fixes, name))
        setattr(hypercorn_fixes, name, lambda: None)


if __name__ == "__main__":
    leave_out(os.environ.get("FAKE_WITHOUT", ""))
    server.build_services = build_services
    sys.exit(server.run(load_settings(sys.argv[2:], os.environ)))
