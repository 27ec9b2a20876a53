"""Turns a request's outputs from vLLM into deltas.

This module does not import vLLM. It reads attributes of its objects, named as in vLLM 0.32: `RequestOutputCollector`,
`RequestOutput`, `CompletionOutput` and `Logprob`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.api import FastPath
from engine.vllm.fast_path import RequestFastPath
from protocol.errors import Fault, TwowireError
from protocol.extras import NO_EXTRAS, Extras
from protocol.output import Delta, FinishReason, PromptReport, Report, TokenLogprob, TopLogprob

LOGPROB_FLOOR = -9999.0
"""Stands for minus infinity, which JSON cannot express; vLLM's own server uses the same value."""

STEP_TOKENS = 16
"""How many tokens with logprobs become deltas at a time. vLLM merges what a slow reader has not taken, which may be a
whole long answer: converting it at once would block the event loop, and every other stream, for seconds."""

# "repetition" is vLLM's guard against loops: the model repeated itself before it reached a limit.
FINISH_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "repetition": "stop"}


@dataclass(frozen=True, slots=True)
class Echo:
    """A prompt that the answer begins with. `first_token` is the text of its first token, which nothing predicts."""

    text: str
    first_token: str


class VllmStream:
    """One request in vLLM, read straight from its output collector.

    `AsyncLLM.generate` would put an async generator around the same collector: a layer per token, and one that
    cannot be closed while a task waits in it. `add_request`, `abort` and the collector's `get_nowait` and `ready`
    are what `generate` itself uses.
    """

    def __init__(
        self,
        queue: Any,
        *,
        top_count: int | None,
        choices: int,
        echo: Echo | None,
        drop_output: bool,
        abort: Callable[[], Awaitable[None]],
        translate: Callable[[Exception], TwowireError],
        schema_field: str | None = None,
        request_fast_path: RequestFastPath | None = None,
        extras: Extras = NO_EXTRAS,
    ) -> None:
        self.cached_tokens = 0
        self.scheduled_at: float | None = None
        self._queue = queue
        self._top_count = top_count
        self._choices = choices
        self._echo = echo
        self._drop_output = drop_output
        self._abort = abort
        self._translate = translate
        self._schema_field = schema_field
        self._request_fast_path = request_fast_path
        self._extras = extras
        self._reports_ids = extras.return_token_ids
        self._first = True
        self._ended = False
        self._closed = False
        self._cancelled = False
        self._loss: TwowireError | None = None
        self._steps: Iterator[list[Delta]] = iter(())

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        step = next(self._steps, None)
        if step is not None:
            # Let the event loop turn between two steps; the stream may be closed meanwhile.
            await asyncio.sleep(0)
            return None if self._closed else step
        if self._loss is not None and not self._closed:
            raise self._loss
        if self._ended:
            return None
        queue = self._queue
        try:
            output = queue.get_nowait()
            if output is None:
                await self._wait(fast_path)
                output = queue.get_nowait()
        except Exception as error:
            self._ended = True
            raise self._translate(error) from error
        if output is None:
            # Woken by `wake` or `close`. The event stays set unless an output is taken.
            queue.ready.clear()
            return self._nothing()
        if self._closed:
            return None
        if output.finished:
            self._ended = True
        for choice in output.outputs:
            if choice.finish_reason is not None:
                self._check_reason(choice.finish_reason)
        if self._drop_output and self._loss is None:
            deltas = [Delta(choice.index, "", 0, "length") for choice in output.outputs]
        elif self._top_count is None and not self._reports_ids:
            deltas = [delta_of(choice, None) for choice in output.outputs]
        else:
            self._steps = steps_of(output.outputs, self._top_count, self._extras)
            deltas = next(self._steps, [])
        if self._ended or self._loss is not None:
            # The last output of an aborted choice may be empty.
            deltas = [delta for delta in deltas if delta.text or delta.tokens or delta.finish_reason]
            if not deltas:
                return await self.next(fast_path) if self._loss is not None else None
        if self._first:
            self._first = False
            self.cached_tokens = output.num_cached_tokens or 0
            # By the engine core's clock, which is the system's; 0 until known.
            self.scheduled_at = (output.metrics.scheduled_ts or None) if output.metrics is not None else None
            if self._echo is not None:
                deltas = [*self._echoed(self._echo, output), *deltas]
            if self._reports_ids or self._extras.prompt_logprobs is not None:
                deltas = [*self._reported(output), *deltas]
        if self._extras.kv_transfer_params is not None and deltas and output.kv_transfer_params:
            report = deltas[-1].report or Report()
            deltas[-1].report = replace(report, kv_transfer_params=output.kv_transfer_params)
        return deltas

    def _reported(self, output: Any) -> list[Delta]:
        """What is reported of the prompt, for each choice."""
        report = PromptReport(
            output.prompt_token_ids if self._reports_ids else None,
            output.prompt_logprobs if self._extras.prompt_logprobs is not None else None,
        )
        return [Delta(index, "", 0, report=Report(prompt=report)) for index in range(self._choices)]

    async def _wait(self, fast_path: FastPath | None) -> None:
        """Wait for an output in the queue, or to be woken; meanwhile, steps may take `fast_path`."""
        request_fast_path = self._request_fast_path
        if fast_path is None or request_fast_path is None or self._first:
            await self._queue.ready.wait()
            return
        request_fast_path.sink = fast_path
        try:
            await self._queue.ready.wait()
        finally:
            request_fast_path.sink = None

    def _nothing(self) -> list[Delta] | None:
        return None if self._ended else []

    def _check_reason(self, reason: str) -> None:
        """Raise if a choice has failed. Remember an unrequested abort, so that earlier output is delivered first.

        vLLM's engine core aborts every request when it gets SIGTERM, and all ranks of data parallelism do when one of
        them ends (0.32, `EngineCoreProc._handle_shutdown`).
        """
        if reason == "error":
            self._ended = True
            raise self._failure()
        if reason == "abort" and not self._cancelled:
            self._loss = engine_died()

    def _failure(self) -> TwowireError:
        """The error for a failed output, which carries no cause."""
        if self._schema_field is not None:
            # A grammar that passes vLLM's check can still fail to compile, or allow no token at all (`{"$ref": "#"}`).
            message = "The engine cannot follow this schema or grammar; make it simpler."
            return TwowireError(Fault.INVALID_SCHEMA, message, param=self._schema_field)
        return TwowireError(Fault.INTERNAL, "The engine failed to generate; the request may be tried again.")

    def _echoed(self, echo: Echo, output: Any) -> list[Delta]:
        logprobs = None
        if self._top_count is not None:
            first, *rest = token_logprobs(
                output.prompt_token_ids, output.prompt_logprobs, self._top_count, as_ids=self._extras.tokens_as_ids
            )
            text = echo.first_token
            logprobs = (replace(first, token=text, utf8=text.encode()), *rest)
        return [Delta(index, echo.text, 0, None, logprobs) for index in range(self._choices)]

    def wake(self) -> None:
        self._queue.ready.set()

    async def cancel(self) -> None:
        self._cancelled = True
        if not self._ended:
            await self._abort()

    async def close(self) -> None:
        self._closed = True
        self._steps = iter(())
        if self._ended:
            return
        self._ended = True
        await self._abort()
        self.wake()


def engine_died() -> TwowireError:
    """The error of a request whose engine has died. It is safe to retry."""
    message = "The engine died while it generated; the request may be tried again."
    return TwowireError(Fault.ENGINE_DIED, message, retry_after_s=5)


def delta_of(output: Any, top_count: int | None) -> Delta:
    """The delta for one of vLLM's `CompletionOutput` deltas.

    `top_count` is how many candidates the client wants for each token; None if it wants no logprobs.
    """
    token_ids = output.token_ids
    reason = output.finish_reason
    delta = Delta(
        output.index,
        output.text,
        len(token_ids),
        FINISH_REASONS.get(reason) if reason is not None else None,
        token_logprobs(token_ids, output.logprobs, top_count) if top_count is not None else None,
    )
    # A stop token's reason is its id, and the end of the sequence has none.
    if reason is not None and isinstance(output.stop_reason, str):
        delta.stop_string = output.stop_reason
    return delta


def steps_of(outputs: Iterable[Any], top_count: int | None, extras: Extras = NO_EXTRAS) -> Iterator[list[Delta]]:
    """Steps of at most `STEP_TOKENS` tokens with their logprobs or ids, for vLLM's `CompletionOutput` deltas.

    One with more tokens becomes several: the first has the text, the last the finish_reason.
    """
    step: list[Delta] = []
    room = STEP_TOKENS
    for output in outputs:
        whole = delta_of(output, None)
        for start in range(0, max(whole.tokens, 1), STEP_TOKENS):
            ids = output.token_ids[start : start + STEP_TOKENS]
            if step and len(ids) > room:
                yield step
                step, room = [], STEP_TOKENS
            is_last = start + STEP_TOKENS >= whole.tokens
            logprobs = None
            if top_count is not None:
                positions = (output.logprobs or [])[start : start + STEP_TOKENS]
                logprobs = token_logprobs(ids, positions, top_count, as_ids=extras.tokens_as_ids)
            report = Report(tuple(ids)) if extras.return_token_ids and ids else None
            reason = whole.finish_reason if is_last else None
            stop_string = whole.stop_string if is_last else None
            text = "" if start else whole.text
            step.append(Delta(output.index, text, len(ids), reason, logprobs, stop_string=stop_string, report=report))
            room -= len(ids)
    if step:
        yield step


def token_logprobs(
    token_ids: Sequence[int],
    positions: Iterable[Mapping[int, Any] | None] | None,
    top_count: int,
    *,
    as_ids: bool = False,
) -> tuple[TokenLogprob, ...]:
    """Logprobs for each of `token_ids`; `positions[i]` maps candidate ids to vLLM's `Logprob` (None: not predicted).

    If the sampled token is not among the `top_count` best, vLLM adds it to the candidates; it is reported as the token
    and left out of its `top`. With `as_ids`, tokens are written as `token_id:…`.
    """
    if as_ids:
        return tuple(
            _with_ids(token_id, position, top_count)
            for token_id, position in zip(token_ids, positions or (), strict=False)
        )
    return tuple(
        _token_logprob(token_id, position, top_count)
        for token_id, position in zip(token_ids, positions or (), strict=False)
    )


def _token_logprob(token_id: int, position: Mapping[int, Any] | None, top_count: int) -> TokenLogprob:
    if position is None:
        return TokenLogprob("", None, b"")
    chosen = position[token_id]
    best = sorted(position.values(), key=lambda candidate: candidate.rank or 0)
    top = tuple(TopLogprob(*_text_and_logprob(candidate)) for candidate in best[:top_count])
    return TokenLogprob(*_text_and_logprob(chosen), top)


def _with_ids(token_id: int, position: Mapping[int, Any] | None, top_count: int) -> TokenLogprob:
    named = f"token_id:{token_id}"
    if position is None:
        return TokenLogprob(named, None, b"")
    best = sorted(position.items(), key=lambda item: item[1].rank or 0)[:top_count]
    top = tuple(TopLogprob(f"token_id:{at}", *_text_and_logprob(candidate)[1:]) for at, candidate in best)
    return TokenLogprob(named, *_text_and_logprob(position[token_id])[1:], top)


def _text_and_logprob(candidate: Any) -> tuple[str, float, bytes]:
    # A token that ends in the middle of a character has no text; the character's last token has all of it.
    text = candidate.decoded_token or ""
    return text, _finite(candidate.logprob), text.encode()


def _finite(logprob: float) -> float:
    return max(logprob, LOGPROB_FLOOR)
