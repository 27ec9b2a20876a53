"""The seam between the manager and an engine: what a request becomes, and what an engine must be able to do.

Does not know any engine. One that implements `TextEngine` can be run by the manager; the real one is in
`engine.vllm.engine`, a small fake for unit tests is in `tests/engine/fakes.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.grammar.figures import GrammarFigures
from protocol.generation import GenerationRequest
from protocol.output import Delta

StageReport = Callable[[str], None]
"""Called by an engine while it starts, with a few words on what it is doing."""


class EngineStartError(Exception):
    """The engine cannot start as it is configured. The message is for the operator, in one line."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One rendered prompt.

    `engine_input` and `sampling` are the engine's own objects; nobody else looks inside. `echo_text` is the prompt's
    text where the answer must begin with it; `drop_output` is set where it must also end there (`max_tokens=0`).
    """

    token_count: int
    engine_input: object
    sampling: object
    echo_text: str | None = None
    drop_output: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that has been checked and rendered. It holds nothing that must be given back.

    Choice `i` of prompt `p` is choice `p * n + i` of the answer. `prompt_tokens` counts each prompt of the client's
    once, however many choices it asked for.
    """

    prompts: tuple[PreparedPrompt, ...]
    prompt_tokens: int
    n: int = 1

    @property
    def sequences(self) -> int:
        """Places in the engine's batch that this request takes."""
        return len(self.prompts) * self.n


FastPath = Callable[[str, int], bool]
"""Sends the text of one step, with its number of tokens, at once. False: it was not sent, and the reader gets it.

It is called for every token, in the engine's own turn of the event loop: it must be quick, and must not wait.
"""


class EngineStream(Protocol):
    """One request that runs in the engine. One task reads it; any task may wake or close it."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from the prefix cache; known once the first deltas are."""

    @property
    def scheduled_at(self) -> float | None:
        """When the engine began to compute it, by `time.monotonic`; None where that is not known, or not yet."""

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        """The deltas of the next step; an empty list if the stream was only woken; None once it has ended.

        While this waits, steps that are nothing but text of choice 0, and not the last, may go to `fast_path` instead:
        no task wakes up for them. What it refuses is returned. Raises `TwowireError` when the generation fails.
        """

    def wake(self) -> None:
        """Make a `next()` that waits return an empty list, now."""

    async def cancel(self) -> None:
        """End the request in the engine at once; `next()` still gives what was made until now, then None."""

    async def close(self) -> None:
        """End the request in the engine at once; a `next()` that waits returns None. May be called twice."""


class Watched(Protocol):
    """What tells a running engine from one that hangs or has died: see `engine.watchdog`."""

    @property
    def steps_taken(self) -> int:
        """Grows with each step that the engine takes, also where that makes no token."""

    @property
    def is_busy(self) -> bool:
        """It has been given work that it has not finished, whoever reads the outcome."""

    async def heartbeat(self) -> None:
        """Make one token for nobody. Raises where that fails; hangs where the engine does."""

    def kill(self) -> None:
        """End its processes at once, as a crash would: streams fail, and `wait_dead` returns."""

    async def wait_dead(self) -> str:
        """Return the reason when the engine has died by itself."""


class TextEngine(Watched, Protocol):
    """A running engine. Made by an `EngineFactory`, ended by `close`."""

    max_model_len: int
    """Tokens of prompt and answer together."""
    told_at: float
    """When the engine last told the state of its queue, by `time.monotonic`; 0 where it has not yet."""

    def count_grammars(self, figures: GrammarFigures) -> None:
        """Count what is compiled into `figures`, which are those of the whole server."""

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        """Render, tokenize and check a request. Raises `TwowireError` (4xx, or 503 where too many JSON schemas wait).

        `client` is whose request it is: slow work is shared fairly between clients.
        """

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        """Put one prompt into the engine. Raises `TwowireError`; then nothing has been started."""

    async def close(self) -> None:
        """Stop the engine and its processes. Does not raise. May be called after its death."""


class EngineFactory(Protocol):
    """Starts an engine without blocking the event loop."""

    async def __call__(self, report: StageReport) -> TextEngine:
        """Raises `EngineStartError` when the configuration is at fault, anything else when the start failed."""
