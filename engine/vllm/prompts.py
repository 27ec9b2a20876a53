"""Renders prompts with vLLM's renderer: short chats at once, everything else in its thread.

Does not import vLLM. A chat passes its thread twice, for the template and for the tokens, and each time waits until the
thread has had its turn: half a millisecond where the event loop is idle, many where it is busy, because the two take
turns at running Python (up to 5 ms each). To render a short chat takes less than that.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from protocol.extras import Extras

if TYPE_CHECKING:
    from engine.vllm.plain_chats import PlainChats

T = TypeVar("T")

AT_ONCE_CHARS = 4096
"""The longest chat that is rendered in the event loop; it takes about as long there as everything else of a request."""
GROWING_CHARS = 64 * 1024
"""The longest dialogue of which only what is new is rendered there."""
GROWING_MESSAGES = (3, 200)
"""How many messages such a dialogue has, at least and at most."""


class Prompts:
    """Uses one renderer of vLLM's."""

    def __init__(self, renderer: Any, plain: PlainChats | None = None) -> None:
        """`plain` renders plain chats without the renderer."""
        self._renderer = renderer
        self._plain = plain
        self._in_thread = 0
        self._turn = asyncio.Lock()

    async def chat(
        self, messages: list[dict[str, Any]], params: Any, tokens: Any, *, tool_chars: int = 0, owner: str = ""
    ) -> Any:
        """The engine's input for a chat whose tools have `tool_chars` characters. Raises what vLLM raises.

        `owner` is whose chat it is: what is kept of it serves only the same owner's.
        """
        chars = _chars(messages) + tool_chars
        fewest, most = GROWING_MESSAGES
        is_growing = AT_ONCE_CHARS < chars <= GROWING_CHARS and fewest <= len(messages) <= most
        plain = self._plain if chars <= AT_ONCE_CHARS or is_growing else None
        if plain is not None and (tokens.add_special_tokens or tokens.truncate_prompt_tokens is not None):
            plain = None
        if chars <= AT_ONCE_CHARS or plain is not None:
            async with self._turn:
                engine_input = None
                if plain is not None:
                    kwargs, most_new = params.chat_template_kwargs, AT_ONCE_CHARS if is_growing else None
                    engine_input = plain.engine_input(
                        messages, kwargs, tokens.max_total_tokens, owner, most_new=most_new
                    )
                # Never beside the thread: a tokenizer whose settings change refuses to be used by two at once.
                if engine_input is None and chars <= AT_ONCE_CHARS and not self._in_thread:
                    _, (engine_input,) = self._renderer.render_chat([messages], params, tokens)
                if engine_input is not None:
                    # One for each turn of the loop. Where hundreds come at once, those that were first would otherwise
                    # have to wait for their tokens until the last has been rendered.
                    await asyncio.sleep(0)
                    return engine_input
        self._in_thread += 1
        try:
            _, (engine_input,) = await self._renderer.render_chat_async([messages], params, tokens)
        finally:
            self._in_thread -= 1
        if plain is not None:
            plain.learn(engine_input, owner)
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
