"""The server with an engine that only counts, at a set pace: it starts in a second, and its memory is the server's own.

A chat may ask for more: «Count from 1 to 300» counts so far and stops; «Say: …» says it; an answer that is gone on with
is counted on from its last number. For tool calls, reasoning and answers of several turns, see
`tests.live.servers.dialogue`.

Run as `python -m tests.live.servers.fake_server serve …flags…`. Everything but the engine is real.
FAKE_PACE_S is the time that a token takes; FAKE_WITHOUT names fixes of `app.hypercorn` to leave out; with
FAKE_LOADED, the engine loads until there is a file of that name; with FAKE_LEASH, no answer gets beyond the number of
tokens that stands in the file of that name, so that a test can do something midway; with FAKE_MORTAL, SIGUSR1 ends the
engine, and the server starts another, and one of several API servers that dies is replaced however soon it does. With
FAKE_SEES, the model takes images, and says nothing of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.config.load import Settings, load_settings
from app.hypercorn import install
from app.server import run as server
from app.server import workers
from app.server.wiring import adapters_of, choose_embedder, make_services
from app.server.workers import ApiServer
from app.services import Services
from engine.adapters.api import Adapter
from engine.api import (
    AnswerFormats,
    EngineStartError,
    EngineStream,
    FastPath,
    Modality,
    Prepared,
    PreparedPrompt,
    Progress,
    StageReport,
    Tokenizer,
)
from engine.grammar.figures import GrammarFigures
from engine.manager import EngineManager
from engine.processes.output import Output
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest
from protocol.output import Delta
from tests.live.servers.dialogue import dialogue_in
from tests.live.servers.script import ENDLESS, Script, script_of
from tests.live.servers.scripted import Answer, ScriptedStream, open_stream, prepare

PACE_S = float(os.environ.get("FAKE_PACE_S", "0.01"))
FAILS = os.environ.get("FAKE_FAILS")
LOADED = os.environ.get("FAKE_LOADED")
LEASH = os.environ.get("FAKE_LEASH")
MORTAL = "FAKE_MORTAL" in os.environ
SEES = "FAKE_SEES" in os.environ
LOOK_S = 0.02


class PacedStream:
    """A token per `PACE_S` since it was opened; what nobody took in time is merged, as vLLM's collector does it."""

    cached_tokens = 0
    scheduled_at = None

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tokens = script.tokens
        self._made = 0
        self._opened_at = time.monotonic()
        self._ends_at = script.tokens
        self._woken = asyncio.Event()
        self._is_dead = False

    def _due(self) -> int:
        if PACE_S == 0:
            return min(self._made + 1, self._ends_at)
        limit = min(self._ends_at, int(Path(LEASH).read_text())) if LEASH else self._ends_at
        return max(min(int((time.monotonic() - self._opened_at) / PACE_S), limit), self._made)

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        while self._made < self._ends_at:
            await self._wait()
            if self._is_dead and self._ends_at:
                raise TwowireError(Fault.ENGINE_DIED, "The engine died while it generated.", retry_after_s=5)
            first, self._made = self._made, max(self._due(), self._made)
            if first == self._made:
                return [] if self._made < self._ends_at else None
            text = "".join(map(self._script.word, range(first, self._made)))
            reason = self._script.finish_reason if self._made == self._tokens else None
            logprobs = self._script.logprobs(first, self._made)
            if (
                logprobs is not None
                or reason is not None
                or fast_path is None
                or not fast_path(text, self._made - first)
            ):
                return [Delta(0, text, self._made - first, reason, logprobs)]
            # What a real engine makes next comes in another turn of the loop.
            await asyncio.sleep(0)
        return None

    async def _wait(self) -> None:
        if PACE_S == 0:
            await asyncio.sleep(0)
            return
        delay = self._opened_at + (self._made + 1) * PACE_S - time.monotonic()
        if LEASH:
            delay = max(delay, LOOK_S)
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

    def die(self) -> None:
        self._is_dead = True
        self.wake()


class PacedEngine:
    """Never dies, unless FAKE_MORTAL is set: then SIGUSR1 ends it."""

    max_model_len = ENDLESS
    told_at: Sequence[float] = (0.0,)
    kv_cache_usage: float | None = None
    formats = AnswerFormats()
    modalities: tuple[Modality, ...] = ("text", "image") if SEES else ("text",)
    is_speech_model = False

    def __init__(self) -> None:
        self._streams: weakref.WeakSet[PacedStream | ScriptedStream] = weakref.WeakSet()
        self._died = asyncio.Event()
        if MORTAL:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._die)

    def _die(self) -> None:
        self._died.set()
        for stream in list(self._streams):
            stream.die()

    def count_grammars(self, figures: GrammarFigures) -> None:
        pass

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        dialogue = dialogue_in(request.prompt.messages) if isinstance(request.prompt, ChatPrompt) else None
        if dialogue is not None:
            scripted = await prepare(dialogue, request)
            return Prepared((scripted,), scripted.token_count, request.n)
        script = replace(script_of(request), candidates=request.sampling.logprobs)
        return Prepared((PreparedPrompt(3, object(), script),), 3)

    async def count(self, request: GenerationRequest, client: str = "") -> int:
        return (await self.prepare(request)).prompt_tokens

    async def tokenize(self, request: GenerationRequest, client: str = "") -> list[int]:
        return list(range(await self.count(request)))

    async def detokenize(self, token_ids: list[int]) -> str:
        return " ".join(map(str, token_ids))

    @property
    def tokenizer(self) -> Tokenizer:
        raise NotImplementedError

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        if isinstance(prompt.sampling, Answer):
            scripted, made_by = open_stream(prompt)
            self._streams.add(made_by)
            return scripted
        assert isinstance(prompt.sampling, Script)
        stream = PacedStream(prompt.sampling)
        self._streams.add(stream)
        return stream

    @property
    def steps_taken(self) -> int:
        return int(time.monotonic() * 100)

    is_busy = False

    async def heartbeat(self) -> None:
        pass

    async def load_adapter(self, adapter: Adapter) -> None:
        pass

    async def drop_adapter(self, adapter: Adapter) -> None:
        pass

    def kill(self) -> None:
        self._die()

    async def wait_dead(self) -> str:
        await self._died.wait()
        return "it was told to"

    async def close(self) -> None:
        pass


async def start(report: StageReport) -> PacedEngine:
    if FAILS:
        raise EngineStartError(FAILS)
    if LOADED:
        report("loading the model", Progress(1, 4, "files"))
        while not await asyncio.to_thread(os.path.exists, LOADED):  # noqa: ASYNC110  # another process makes the file
            await asyncio.sleep(LOOK_S)
    return PacedEngine()


def build_services(settings: Settings, one_of: ApiServer | None = None, output: Output | None = None) -> Services:
    """As `app.server.wiring` does it, but for the engine, of which each API server has its own."""
    manager = EngineManager(
        start,
        settings.admission,
        keepalive_s=settings.requests.keepalive_s,
        watchdog=settings.watchdog,
        adapters=adapters_of(settings),
    )
    return make_services(settings, manager, choose_embedder(settings), one_of)


if __name__ == "__main__":
    install(without=list(filter(None, os.environ.get("FAKE_WITHOUT", "").split(","))))
    if MORTAL:
        workers.HEALTHY_AFTER_S = 0.0
    server.build_services = build_services  # type: ignore[attr-defined]  # a name that it imports
    sys.exit(server.run(load_settings(sys.argv[2:], os.environ)))
