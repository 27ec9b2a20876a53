"""The interface between the manager and an engine.

The real `TextEngine` is in `engine.vllm.engine`, a small fake for unit tests in `tests/engine/fakes.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from engine.adapters.api import Adapter
from engine.grammar.figures import GrammarFigures
from protocol.extras import NO_EXTRAS, Extras
from protocol.generation import GenerationRequest
from protocol.output import Delta


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a stage of the start is done. `total` is at least 1."""

    done: int
    total: int
    unit: Literal["bytes", "files", "steps"]


class StageReport(Protocol):
    """Called by an engine while it starts."""

    def __call__(self, stage: str, progress: Progress | None = None, /) -> None:
        """`stage` says in a few words what it is doing; `progress` how far that is, if known."""


class EngineStartError(Exception):
    """The engine cannot start as configured. The message is one line for the operator."""


class FollowerLostError(Exception):
    """A rank on another machine ended while the engine started. Another start may succeed, even if none has before."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One rendered prompt.

    `engine_input`, `sampling` and `parsing` are the engine's own objects; `parsing` is None if the text is the answer
    as it is. `echo_text` is the prompt's text if the answer must begin with it; `drop_output` is set if it must also
    end there (`max_tokens=0`). `constraint_field` is the field that the answer's grammar is made of, if it has one.
    `image_tokens` and `audio_tokens` are the parts of `token_count` that are images and sound.
    """

    token_count: int
    engine_input: object
    sampling: object
    parsing: object = None
    echo_text: str | None = None
    drop_output: bool = False
    constraint_field: str | None = None
    extras: Extras = NO_EXTRAS
    image_tokens: int = 0
    adapter: Adapter | None = None
    """The one to generate with; the manager sets it."""
    media_bytes: int = 0
    """The memory that `engine_input` takes for images and sound."""
    audio_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked and rendered request. It holds no resources.

    Choice `i` of prompt `p` is choice `p * n + i` of the answer. `prompt_tokens` counts each prompt once, however many
    choices it has.
    """

    prompts: tuple[PreparedPrompt, ...]
    prompt_tokens: int
    n: int = 1
    image_tokens: int = 0
    """The part of `prompt_tokens` that is images."""
    audio_tokens: int = 0
    """The part of `prompt_tokens` that is sound."""

    @property
    def sequences(self) -> int:
        """Slots that this request takes."""
        return len(self.prompts) * self.n

    @property
    def media_bytes(self) -> int:
        """The memory that its images and sounds take. Only chats have any: one prompt, however often repeated."""
        return self.prompts[0].media_bytes

    @property
    def priority(self) -> int:
        """Lower runs earlier."""
        return self.prompts[0].extras.priority

    @property
    def adapter(self) -> Adapter | None:
        """The adapter to generate with; None for the model itself."""
        return self.prompts[0].adapter


FastPath = Callable[[str, int], bool]
"""Sends the text of one step, with its number of tokens, at once. False: it was not sent, and the reader gets it.

Called for every token, in the engine's own turn of the event loop: it must be quick and must not wait.
"""


class EngineStream(Protocol):
    """A request that runs in the engine. One task reads it; any task may wake or close it."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from the prefix cache; known once the first deltas are."""

    @property
    def scheduled_at(self) -> float | None:
        """When the engine began to compute it, by `time.monotonic`; None if unknown."""

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        """The deltas of the next step; an empty list if the stream was only woken; None once it has ended.

        While this waits, steps that are nothing but text of choice 0, and not the last, may go to `fast_path` instead:
        no task wakes up for them. What it refuses is returned. Raises `TwowireError` when the generation fails.
        """

    def wake(self) -> None:
        """Make a `next()` that waits return an empty list, now."""

    async def cancel(self) -> None:
        """End the request in the engine at once; `next()` still returns what was generated so far, then None."""

    async def close(self) -> None:
        """End the request in the engine at once; a waiting `next()` returns None. May be called twice."""


class WatchedRank(Protocol):
    """What `engine.watchdog` needs to tell a rank that works from one that hangs."""

    @property
    def steps_taken(self) -> int:
        """Grows with each step of the engine, even one that generates no token."""

    @property
    def is_busy(self) -> bool:
        """Whether it has unfinished work, even if nobody reads the result."""

    async def heartbeat(self) -> None:
        """Generate one token and drop it. Raises if that fails; hangs if the engine does."""


class Watched(WatchedRank, Protocol):
    """What `engine.watchdog` needs to tell a running engine from one that hangs or has died."""

    def kill(self) -> None:
        """End its processes at once, as a crash would: streams fail, and `wait_dead` returns."""

    async def wait_dead(self) -> str:
        """Wait until the engine dies by itself; returns the reason."""


@runtime_checkable
class HasRanks(Protocol):
    """An engine of several ranks, of which each may hang while the others work."""

    @property
    def ranks(self) -> Sequence[WatchedRank]:
        """In the order of their numbers; empty if there is one only, which the engine itself stands for."""


@dataclass(frozen=True, slots=True)
class AnswerFormats:
    """How a model writes tool calls and thoughts, by vLLM's names; None if its text is not searched for them."""

    tool_calls: str | None = None
    reasoning: str | None = None


class Tokenizer(Protocol):
    """The part of a tokenizer of transformers that routes show."""

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Each token's own text, as the vocabulary has it."""


Modality = Literal["text", "image", "audio"]
"""What a prompt may consist of, in the words of `/v1/models`."""


class TextEngine(Watched, Protocol):
    """A running engine. Made by an `EngineFactory`, ended by `close`."""

    formats: AnswerFormats
    modalities: tuple[Modality, ...]
    """What the model takes; text first."""
    is_speech_model: bool
    """It writes down recordings, and does nothing else."""
    max_model_len: int
    """Tokens of prompt and answer together, at most."""

    @property
    def told_at(self) -> Sequence[float]:
        """When each rank last reported the state of its queue, by `time.monotonic`; 0 if it has not."""

    @property
    def kv_cache_usage(self) -> float | None:
        """The share of the KV cache in use at that time, from 0 to 1; None before the first report."""

    def count_grammars(self, figures: GrammarFigures) -> None:
        """Count compiles in `figures`, which are the whole server's."""

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        """Render, tokenize and check a request. Raises `TwowireError` (4xx, or 503 if too many JSON schemas wait).

        `client` is whose request it is: slow work is shared fairly between clients.
        """

    async def count(self, request: GenerationRequest, client: str = "") -> int:
        """The number of prompt tokens of a request, rendered and tokenized, without a limit. Raises `TwowireError`.

        `client` is whose request it is: what is kept of a prompt serves only the same client's.
        """

    async def tokenize(self, request: GenerationRequest, client: str = "") -> list[int]:
        """The tokens of a request's prompt, within the bounds of `count`, and as there. Raises `TwowireError`."""

    async def detokenize(self, token_ids: list[int]) -> str:
        """The text of tokens, special ones included. Raises `TwowireError` for ids that the model has not."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, to look at."""

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        """Start to generate for one prompt. Raises `TwowireError`; then nothing was started."""

    async def load_adapter(self, adapter: Adapter) -> None:
        """As in `engine.adapters.api`."""

    async def drop_adapter(self, adapter: Adapter) -> None:
        """As in `engine.adapters.api`."""

    async def close(self) -> None:
        """Stop the engine and its processes. Does not raise. May be called after its death."""


class EngineFactory(Protocol):
    """Starts an engine without blocking the event loop."""

    async def __call__(self, report: StageReport) -> TextEngine:
        """Raises `EngineStartError` if the configuration is at fault, anything else if the start failed."""
