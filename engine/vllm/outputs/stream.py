"""Reads one request's outputs from vLLM, as a stream of deltas.

`engine.vllm.outputs.deltas` converts each output. This module does not import vLLM. It reads attributes of its objects,
named as in vLLM 0.32: `RequestOutputCollector`, `RequestOutput` and `CompletionOutput`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from engine.api import FastPath
from engine.vllm.outputs.deltas import delta_of, steps_of, token_logprobs
from engine.vllm.outputs.fast_path import RequestFastPath
from protocol.errors import Fault, TwowireError
from protocol.extras import NO_EXTRAS, Extras
from protocol.output import Delta, PromptReport, Report


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
        return TwowireError(Fault.INTERNAL, "The engine failed to generate; the request can be retried.")

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
    message = "The engine died while it generated; the request can be retried."
    return TwowireError(Fault.ENGINE_DIED, message, retry_after_s=5)
