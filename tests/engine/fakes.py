"""A small fake engine: the test says what is generated, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from engine.adapters.api import Adapter
from engine.api import AnswerFormats, EngineStream, FastPath, Modality, Prepared, PreparedPrompt, Progress, StageReport
from engine.grammar.figures import GrammarFigures
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest
from protocol.output import Delta


def is_plain(deltas: Sequence[Delta]) -> bool:
    """Whether a step may take the fast path."""
    return len(deltas) == 1 and deltas[0].index == 0 and not deltas[0].finish_reason and not deltas[0].logprobs


class FakeStream:
    """Yields the steps that `script` holds, then waits for more from `feed`, until `end`."""

    def __init__(self, script: Sequence[list[Delta]] = (), *, cached_tokens: int = 0) -> None:
        self.cached_tokens = cached_tokens
        self.closed = False
        self.cancelled = False
        self.scheduled_at: float | None = None
        self._steps = list(script)
        self._finished = False
        self._error: TwowireError | None = None
        self._changed = asyncio.Event()
        self._fast_path: FastPath | None = None

    def feed(self, *deltas: Delta) -> None:
        if self._fast_path is not None and not self._steps and is_plain(deltas):
            (delta,) = deltas
            if self._fast_path(delta.text, delta.tokens):
                return
        self._steps.append(list(deltas))
        self._changed.set()

    def end(self) -> None:
        self._finished = True
        self._changed.set()

    def fail(self, error: TwowireError) -> None:
        self._error = error
        self._changed.set()

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        if not self._steps and self._error is None and not self._finished and not self.closed:
            self._changed.clear()
            self._fast_path = fast_path
            try:
                await self._changed.wait()
            finally:
                self._fast_path = None
        if self.closed:
            return None
        if self._steps:
            return self._steps.pop(0)
        if self._error is not None:
            raise self._error
        return None if self._finished else []

    def wake(self) -> None:
        self._changed.set()

    async def cancel(self) -> None:
        self.cancelled = True
        self.end()

    async def close(self) -> None:
        self.closed = True
        self._changed.set()


class FakeTokenizer:
    """Its tokens are their numbers."""

    init_kwargs: Mapping[str, object] = {"vocab_file": "/secret", "eos_token": "<end>"}
    chat_template = "{{ messages }}"

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [f"t{token_id}" for token_id in ids]


class FakeEngine:
    """Answers every prompt with a copy of `steps`; a stream that the test drives itself is put in `streams`."""

    max_model_len = 2048
    told_at: Sequence[float] = (0.0,)
    kv_cache_usage: float | None = None
    formats = AnswerFormats()
    modalities: tuple[Modality, ...] = ("text",)
    is_speech_model = False

    def __init__(self, steps: Sequence[list[Delta]] = (), *, ends: bool = True) -> None:
        self.steps = steps
        self.ends = ends
        self.prepared: list[GenerationRequest] = []
        self.counted: list[GenerationRequest] = []
        self.counted_for: list[str] = []
        """The clients whose requests those are."""
        self.opened: list[FakeStream] = []
        self.refusal: TwowireError | None = None
        self.adapters: dict[int, Adapter] = {}
        self.adapter_problem: Exception | None = None
        self.used: list[Adapter | None] = []
        """The adapters of the prompts that were opened."""
        self.closed = False
        self.killed = False
        self.steps_taken = 0
        self.is_busy = False
        self.beats = 0
        self.beats_are_answered = True
        self._death: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def count_grammars(self, figures: GrammarFigures) -> None:
        pass

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        self.prepared.append(request)
        prompts = tuple(PreparedPrompt(3, object(), object()) for _ in range(request.prompt_count))
        return Prepared(prompts, 3 * len(prompts), request.n)

    async def count(self, request: GenerationRequest, client: str = "") -> int:
        self.counted.append(request)
        self.counted_for.append(client)
        return 3 * request.prompt_count

    async def tokenize(self, request: GenerationRequest, client: str = "") -> list[int]:
        self.counted.append(request)
        self.counted_for.append(client)
        return [1, 2, 3]

    async def detokenize(self, token_ids: list[int]) -> str:
        return " ".join(map(str, token_ids))

    @property
    def tokenizer(self) -> FakeTokenizer:
        return FakeTokenizer()

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        stream = FakeStream([[replace(delta) for delta in step] for step in self.steps])
        if self.ends:
            stream.end()
        self.opened.append(stream)
        self.used.append(prompt.adapter)
        return stream

    async def heartbeat(self) -> None:
        self.beats += 1
        if not self.beats_are_answered:
            await asyncio.Event().wait()
        self.steps_taken += 1

    def kill(self) -> None:
        self.killed = True
        for stream in self.opened:
            stream.fail(TwowireError(Fault.ENGINE_DIED, "killed", retry_after_s=5))
        self.die("killed")

    def die(self, reason: str) -> None:
        self._death.set_result(reason)

    async def wait_dead(self) -> str:
        return await self._death

    async def load_adapter(self, adapter: Adapter) -> None:
        if self.adapter_problem is not None:
            raise self.adapter_problem
        self.adapters[adapter.id] = adapter

    async def drop_adapter(self, adapter: Adapter) -> None:
        del self.adapters[adapter.id]

    async def close(self) -> None:
        self.closed = True


class FakeFactory:
    """Makes fake engines, one after another; `error` makes the next start fail."""

    def __init__(
        self, steps: Sequence[list[Delta]] = (), *, ends: bool = True, engine: type[FakeEngine] = FakeEngine
    ) -> None:
        self.engines: list[FakeEngine] = []
        self.error: Exception | None = None
        self.started = asyncio.Event()
        self.started.set()
        self._steps = steps
        self._ends = ends
        self._engine = engine

    async def __call__(self, report: StageReport) -> FakeEngine:
        report("loading the fake", Progress(1, 2, "files"))
        await self.started.wait()
        if self.error is not None:
            raise self.error
        engine = self._engine(self._steps, ends=self._ends)
        self.engines.append(engine)
        return engine


def words(*texts: str, index: int = 0) -> list[list[Delta]]:
    """One step per text, the last of which finishes the choice."""
    steps = [[Delta(index, text, 1)] for text in texts]
    steps[-1][0].finish_reason = "stop"
    return steps
