"""Renders prompts with vLLM's renderer: short chats at once, everything else in its thread.

Does not import vLLM. A chat passes its thread twice, for the template and for the tokens, and each time waits until the
thread has had its turn: half a millisecond where the event loop is idle, many where it is busy, because the two take
turns at running Python (up to 5 ms each). To render a short chat takes less than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from protocol.extras import Extras

if TYPE_CHECKING:
    from engine.vllm.prompts.plain_chats import PlainChats

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
        _, (engine_input,) = await self._threaded(self._renderer.render_chat_async([messages], params, tokens))
        if plain is not None:
            plain.learn(engine_input, owner)
        return engine_input

    async def chat_with_media(self, messages: list[dict[str, Any]], params: Any, tokens: Any) -> Any:
        """The engine's input for a chat with images or sound: whole, without what the engine core has cached."""
        rendered = self._renderer.render_chat_async([messages], params, tokens, skip_mm_cache=True)
        _, (engine_input,) = await self._threaded(rendered, has_media=True)
        return engine_input

    async def completion(self, prompts: list[dict[str, Any]], tokens: Any) -> list[Any]:
        """The engine's inputs for the prompts of a completion. Raises what vLLM raises."""
        inputs: list[Any] = await self._threaded(self._renderer.render_cmpl_async(prompts, tokens))
        return inputs

    async def _threaded(self, rendered: Awaitable[T], *, has_media: bool = False) -> T:
        """What the renderer makes in its thread, which counts as used until it really has ended."""
        self._in_thread += 1
        try:
            result = await rendered
        except BaseException:
            # Cancelled, or one of several prompts has failed: the thread goes on with what it has begun.
            self._leave_thread_later(has_media=has_media)
            raise
        self._in_thread -= 1
        return result

    def _leave_thread_later(self, *, has_media: bool) -> None:
        # Each of vLLM's executors has one thread: what is submitted now runs after all that was before.
        executors = [self._renderer._executor, *([self._renderer._mm_executor] if has_media else ())]
        loop = asyncio.get_running_loop()
        try:
            turns = [loop.run_in_executor(executor, _nothing) for executor in executors]
        except RuntimeError:  # It has been shut down.
            self._left_thread()
            return
        asyncio.gather(*turns, return_exceptions=True).add_done_callback(self._left_thread)

    def _left_thread(self, _: object = None) -> None:
        self._in_thread -= 1


def _nothing() -> None:
    pass


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
