"""Turns a request's prompt into vLLM's inputs: renders chats, tokenizes texts."""

from __future__ import annotations

import asyncio
from typing import Any

from vllm.renderers.params import ChatParams, TokenizeParams

from engine.requests.validation import allowed_template_kwargs, check_token_ids
from engine.vllm.outputs.errors import refusal
from engine.vllm.prompts.media import MediaPrompts
from engine.vllm.prompts.render import Prompts, tokenize_params
from engine.vllm.started import Started
from protocol.errors import TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, TextPrompt

COUNTED_CONTEXTS = 4
"""How many of the model's contexts a prompt may fill and still be counted. A longer one keeps the thread too busy that
renders everybody's prompts."""


class Inputs:
    """Makes the inputs for one engine."""

    def __init__(self, started: Started, prompts: Prompts, media: MediaPrompts) -> None:
        self._prompts = prompts
        self._media = media
        self._llm = started.llm
        self._model_config = started.llm.model_config
        self._format = started.format
        self._chat_template = started.chat_template
        allowed = (*started.config.allowed_template_kwargs, *started.format.allowed_kwargs)
        self._allowed_template_kwargs = tuple(dict.fromkeys(allowed))
        length = self._model_config.max_model_len
        self._chat_tokens = TokenizeParams(max_total_tokens=length, add_special_tokens=False)
        self._counted_tokens = TokenizeParams(max_total_tokens=COUNTED_CONTEXTS * length, add_special_tokens=False)
        self._text_tokens = TokenizeParams(max_total_tokens=length, add_special_tokens=True)

    async def of(
        self, request: GenerationRequest, client: str = "", *, is_counted: bool = False
    ) -> tuple[list[Any], list[str | None]]:
        """The engine's inputs, and the texts to echo. Raises `TwowireError`.

        With `is_counted`, they are only counted or listed: a chat may then be longer than the model's context.
        """
        prompt = request.prompt
        try:
            if isinstance(prompt, TextPrompt):
                return await self._tokenize(prompt, request)
            assert isinstance(prompt, ChatPrompt)
            self._format.check(request)
            tokens = self._counted_tokens if is_counted else self._chat_tokens
            return [await self._render(prompt, request, tokens, client)], [None]
        except TwowireError:
            raise
        except Exception as error:
            raise refusal(error, request.fields.prompt) from error

    async def _render(self, chat: ChatPrompt, request: GenerationRequest, tokens: TokenizeParams, client: str) -> Any:
        """The engine's input for a chat. Raises what vLLM raises, or `TwowireError`."""
        kwargs = (
            allowed_template_kwargs(chat, self._allowed_template_kwargs)
            | self._format.template_kwargs(request)
            | {
                "add_generation_prompt": chat.add_generation_prompt and not chat.continue_final_message,
                "continue_final_message": chat.continue_final_message,
                "tokenize": False,
            }
        )
        params = ChatParams(chat_template=self._chat_template, chat_template_kwargs=kwargs)
        messages, tokens = self._format.messages(chat), tokenize_params(tokens, request.extras)
        if chat.has_media:
            return await self._media.chat(messages, params, tokens)
        tool_chars = len(str(kwargs["tools"])) if "tools" in kwargs else 0
        return await self._prompts.chat(messages, params, tokens, tool_chars=tool_chars, owner=client)

    async def _tokenize(self, prompt: TextPrompt, request: GenerationRequest) -> tuple[list[Any], list[str | None]]:
        """The engine's inputs for texts or token ids, and the texts to echo. Raises as `_render` does."""
        check_token_ids(prompt.prompts, self._model_config.get_vocab_size(), request.fields.prompt)
        engine_inputs = await self._prompts.completion(
            [{"prompt": one} if isinstance(one, str) else {"prompt_token_ids": list(one)} for one in prompt.prompts],
            tokenize_params(self._text_tokens, request.extras),
        )
        if not prompt.echo:
            return engine_inputs, [None] * len(prompt.prompts)
        return engine_inputs, [one if isinstance(one, str) else await self.decode(one) for one in prompt.prompts]

    async def decode(self, token_ids: list[int]) -> str:
        """The text of tokens, with the special ones."""
        text: str = await asyncio.to_thread(self._llm.get_tokenizer().decode, token_ids)
        return text
