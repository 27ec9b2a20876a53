"""Prepares requests and runs them as generations.

`engine.admission.admission` queues or refuses them; `engine.supervisor` keeps the engine running.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from engine.adapter_registry import Adapters
from engine.admission.admission import Admission, AdmissionLimits
from engine.admission.queued_stream import QueuedStream
from engine.api import AnswerFormats, EngineFactory, EngineStream, Modality, Prepared, StageReport, TextEngine
from engine.deadlines import Deadlines, DeadlineTimer
from engine.generation import Generation, GenerationObserver
from engine.grammar.figures import GrammarFigures
from engine.merged_stream import open_streams
from engine.queue.fair_queue import QueueEntry
from engine.requests.validation import check_modalities
from engine.startup.tokenizer_config import tokenizer_config
from engine.supervisor import BACKOFF_FIRST_S, EngineState, HasSupervisor, Supervisor
from engine.watchdog import WatchdogLimits
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest

REPORT_MAX_AGE_S = 10.0
"""After so long without a report, the engine's state counts as unknown."""


class EngineManager(HasSupervisor[TextEngine]):
    """Use: `start()`, then `prepare` and `run`, then `stop()`."""

    def __init__(
        self,
        factory: EngineFactory,
        limits: AdmissionLimits,
        *,
        keepalive_s: float = 15.0,
        backoff_first_s: float = BACKOFF_FIRST_S,
        watchdog: WatchdogLimits | None = None,
        has_worked: bool = False,
        adapters: Adapters | None = None,
        is_speech_model: bool = False,
    ) -> None:
        """`has_worked`: see `Supervisor`. `is_speech_model`: as far as is known before the engine has started."""
        self.adapters = adapters or Adapters()
        self.supervisor: Supervisor[TextEngine] = Supervisor(
            "engine",
            self._start_engine,
            watchdog=watchdog,
            backoff_first_s=backoff_first_s,
            has_worked=has_worked,
        )
        self.grammar_figures = GrammarFigures()
        """Of all engines since the server started."""
        self.formats = AnswerFormats()
        """Those of the model, once an engine has started."""
        self.modalities: tuple[Modality, ...] = ("text",)
        """What the model takes, once an engine has started."""
        self.is_speech_model = is_speech_model
        """It writes down recordings. Known before the first start only of a model in a folder."""
        self.max_model_len: int | None = None
        """Tokens of prompt and answer together, at most; known once an engine has started."""
        self.id_prefix = ""
        """What the ids of generations begin with: hex digits, so that they say where they run."""
        self.on_drain: list[Callable[[], None]] = []
        """Called once, when the server starts to refuse new work."""
        self._factory = factory
        self._admission = Admission(limits, self.adapters)
        self._keepalive_s = keepalive_s
        self._generations: dict[Generation, DeadlineTimer | None] = {}
        self._ended_tokens = 0
        self._idle = asyncio.Event()
        self._idle.set()

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to start the engine; returns at once."""
        self.supervisor.run()

    async def _start_engine(self, report: StageReport) -> TextEngine:
        engine = await self._factory(report)
        try:
            await self.adapters.start(engine)
        except BaseException:
            await engine.close()
            raise
        engine.count_grammars(self.grammar_figures)
        self.formats, self.modalities, self.max_model_len = engine.formats, engine.modalities, engine.max_model_len
        self.is_speech_model = engine.is_speech_model
        return engine

    @property
    def told_at(self) -> Sequence[float]:
        """When each rank last reported the state of its queue, by `time.monotonic`; 0 if it has not."""
        engine = self.supervisor.engine
        return engine.told_at if engine is not None else ()

    @property
    def sequences(self) -> int:
        """Sequences that run or wait."""
        return self._admission.queue.slots

    @property
    def waiting(self) -> int:
        """Sequences that wait for a slot."""
        return self._admission.queue.waiting

    @property
    def places(self) -> dict[str, int]:
        """For each generation that waits for a slot, by its id: how many start before it, as the queue is now."""
        return {entry.label: place for place, entry in enumerate(self._admission.queue.order())}

    @property
    def tokens_made(self) -> int:
        """Tokens of all generations since the server started."""
        return self._ended_tokens + sum(generation.usage.completion_tokens for generation in self._generations)

    @property
    def kv_cache_usage(self) -> float | None:
        """The share of the KV cache in use, from 0 to 1; None if the engine has not reported it lately."""
        engine = self.supervisor.engine
        if engine is None or engine.kv_cache_usage is None:
            return None
        if not self._generations:
            return 0.0  # The last report may be from before they ended.
        return engine.kv_cache_usage if time.monotonic() - max(engine.told_at) < REPORT_MAX_AGE_S else None

    @property
    def active(self) -> frozenset[Generation]:
        """The generations that run or wait now."""
        return frozenset(self._generations)

    def begin_drain(self) -> None:
        """Refuse new work from now on; what runs goes on."""
        self.supervisor.begin_drain()
        while self.on_drain:
            self.on_drain.pop(0)()

    async def stop(self, drain_timeout_s: float = 0.0) -> None:
        """Refuse new work, let generations finish for `drain_timeout_s`, cancel the rest, stop the engine."""
        self.begin_drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_timeout_s):
                await self._idle.wait()
        shutting_down = TwowireError(
            Fault.DRAINING, "The server is shutting down; the generation was ended.", retry_after_s=5
        )
        for generation in list(self._generations):
            await generation.abort(shutting_down)
        await self.supervisor.stop()

    # -- requests -----------------------------------------------------------------------------------------------

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        """Render, count and check a request. Raises `TwowireError`, also if there is no room for it."""
        prompts = request.prompt_count
        sequences = request.n * prompts
        # Before rendering, so that a refusal is cheap; `run` checks again.
        self._admission.check_size(sequences, request.fields.prompt if prompts > 1 else "n")
        if not self._admission.queue.has_room(client, sequences):
            raise self._admission.queue_full()
        engine = self._ready_engine()
        check_modalities(request, engine.modalities)
        if request.adapter is None:
            return await engine.prepare(request, client)
        adapter = self.adapters.find(request.adapter)
        prepared = await engine.prepare(request, client)
        return replace(prepared, prompts=tuple(replace(one, adapter=adapter) for one in prepared.prompts))

    async def count(self, request: GenerationRequest, client: str = "") -> int:
        """The number of prompt tokens of a request, without queueing. Raises `TwowireError`."""
        engine = self._ready_engine()
        check_modalities(request, engine.modalities)
        return await engine.count(request, client)

    async def tokenize(
        self, request: GenerationRequest, client: str = "", *, strings: bool
    ) -> tuple[list[int], list[str] | None]:
        """The tokens of a request's prompt, with each one's own text if `strings`. Raises `TwowireError`."""
        engine = self._ready_engine()
        check_modalities(request, engine.modalities)
        token_ids = await engine.tokenize(request, client)
        if not strings:
            return token_ids, None
        return token_ids, await asyncio.to_thread(engine.tokenizer.convert_ids_to_tokens, token_ids)

    async def detokenize(self, token_ids: list[int]) -> str:
        """The text of tokens. Raises `TwowireError`."""
        return await self._ready_engine().detokenize(token_ids)

    def tokenizer_info(self) -> dict[str, Any]:
        """The tokenizer's configuration. Raises `TwowireError` while there is no engine."""
        return tokenizer_config(self._ready_engine().tokenizer)

    def check_open(self) -> None:
        """Raise `TwowireError` (503) if the server is shutting down."""
        if self.state is EngineState.DRAINING or self.state is EngineState.STOPPED:
            raise TwowireError(
                Fault.DRAINING, "The server is shutting down and takes no new requests.", retry_after_s=5
            )

    def _ready_engine(self) -> TextEngine:
        self.check_open()
        engine = self.supervisor.engine
        if engine is None or not self.is_ready:
            raise self._not_ready()
        return engine

    def _not_ready(self) -> TwowireError:
        message = f"The model cannot generate now: {self.state.value} ({self.reason})."
        return TwowireError(Fault.ENGINE_NOT_READY, message, retry_after_s=10)

    def find(self, generation_id: str, owner: str | None) -> Generation | None:
        """The generation with that id, if it runs or waits now and belongs to `owner`."""
        for generation in self._generations:
            if generation.id == generation_id and generation.owner == owner:
                return generation
        return None

    async def run(
        self,
        prepared: Prepared,
        observer: GenerationObserver | None = None,
        owner: str | None = None,
        *,
        client: str = "",
        deadlines: Deadlines | None = None,
    ) -> Generation:
        """Put a prepared request into the engine or the queue. The caller must close the generation.

        Clients share the slots evenly: see `engine.queue.fair_queue`. A generation that misses one of its `deadlines`
        is ended with an error that says so. Raises `TwowireError` if the engine refuses; then nothing is held.
        """
        engine = self._ready_engine()
        self._admission.check_size(prepared.sequences, None)
        # Before the first await, so that requests that arrive together cannot all see the last free slot.
        generation_id = self.id_prefix + uuid.uuid4().hex[len(self.id_prefix) :]
        entry = self._admission.enter(client, prepared, generation_id)
        stream: EngineStream
        if entry.state == "running":
            try:
                stream = await open_streams(engine, prepared, generation_id, self.adapters)
            except BaseException:
                self._admission.leave(entry, prepared.adapter)
                raise
        else:
            stream = QueuedStream(
                entry,
                lambda: self._open_queued(prepared, generation_id),
                lambda opened: generation.take_stream(opened),
            )
        generation = Generation(
            generation_id,
            prepared,
            stream,
            on_end=lambda ended: self._forget(ended, entry),
            observer=observer,
            owner=owner,
            keepalive_s=self._keepalive_s,
        )
        self._generations[generation] = DeadlineTimer(deadlines, generation) if deadlines is not None else None
        self._idle.clear()
        return generation

    async def _open_queued(self, prepared: Prepared, generation_id: str) -> EngineStream:
        # While the server drains, what already waits may still run.
        engine = self.supervisor.engine
        if engine is None or self.state not in (EngineState.READY, EngineState.DRAINING):
            raise self._not_ready()
        return await open_streams(engine, prepared, generation_id, self.adapters)

    def _forget(self, generation: Generation, entry: QueueEntry) -> None:
        # Its prompt, which may hold images, is not kept until then.
        self._admission.leave(entry, generation.adapter)
        self._ended_tokens += generation.usage.completion_tokens
        timer = self._generations.pop(generation)
        if timer is not None:
            timer.stop()
        if not self._generations:
            self._idle.set()
