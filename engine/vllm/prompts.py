"""Renders prompts with vLLM's renderer: short chats at once, everything else in its thread.

Does not import vLLM. A chat passes its thread twice, for the template and for the tokens, and each time waits until the
thread has had its turn: half a millisecond where the event loop is idle, many where it is busy, because the two take
turns at running Python (up to 5 ms each). To render a short chat takes less than that.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, TypeVar

from protocol.extras import Extras

T = TypeVar("T")

AT_ONCE_CHARS = 4096
"""The longest chat that is rendered in the event loop; it takes about as long there as everything else of a request."""


class Prompts:
    """Uses one renderer of vLLM's."""

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer
        self._in_thread = 0
        self._turn = asyncio.Lock()

    async def chat(self, messages: list[dict[str, Any]], params: Any, tokens: Any, *, tool_chars: int = 0) -> Any:
        """The engine's input for a chat whose tools have `tool_chars` characters. Raises what vLLM raises."""
        # Never beside the thread: a tokenizer whose settings change refuses to be used by two at once.
        if _chars(messages) + tool_chars <= AT_ONCE_CHARS:
            async with self._turn:
                if not self._in_thread:
                    _, (engine_input,) = self._renderer.render_chat([messages], params, tokens)
                    # One for each turn of the loop. Where hundreds come at once, those that were first would otherwise
                    # have to wait for their tokens until the last has been rendered.
                    await asyncio.sleep(0)
                    return engine_input
        self._in_thread += 1
        try:
            _, (engine_input,) = await self._renderer.render_chat_async([messages], params, tokens)
        finally:
            self._in_thread -= 1
        return engine_input

    async def chat_with_media(self, messages: list[dict[str, Any]], params: Any, tokens: Any) -> Any:
        """The engine's input for a chat with images, whole: without counting on what the engine core has cached."""
        self._in_thread += 1
        try:
            _, (engine_input,) = await self._renderer.render_chat_async([messages], params, tokens, skip_mm_cache=True)
        finally:
            self._in_thread -= 1
        return engine_input

    async def completion(self, prompts: list[dict[str, Any]], tokens: Any) -> list[Any]:
        """The engine's inputs for the prompts of a completion. Raises what vLLM raises."""
        self._in_thread += 1
        try:
            inputs: list[Any] = await self._renderer.render_cmpl_async(prompts, tokens)
        finally:
            self._in_thread -= 1
        return inputs


def tokenize_params(params: T, extras: Extras) -> T:
    """vLLM's `TokenizeParams` of a request: `params`, changed as it asks."""
    changes: dict[str, Any] = {}
    if extras.add_special_tokens is not None:
        changes["add_special_tokens"] = extras.add_special_tokens
    if extras.truncate_prompt_tokens is not None:
        # One token of output: vLLM then cuts a prompt of the whole context by one more.
        changes |= {
            "truncate_prompt_tokens": extras.truncate_prompt_tokens,
            "truncation_side": extras.truncation_side,
            "max_output_tokens": 1,
        }
    return replace(params, **changes) if changes else params  # type: ignore[type-var]  # a dataclass of vLLM's


def _chars(messages: list[dict[str, Any]]) -> int:
    """The characters of a chat, about."""
    return sum(len(str(value)) for message in messages for value in message.values())
