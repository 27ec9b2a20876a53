"""The requests and answers of `/tokenize` and `/detokenize`, in vLLM's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from protocol.chat.messages import MAX_MESSAGES, ChatMessage
from protocol.chat.request import FIELD_NAMES, check_calls, check_template_arguments
from protocol.chat.tools import ToolList, tools_of
from protocol.errors import Fault
from protocol.extras import Extras
from protocol.generation import ChatPrompt, GenerationRequest, Sampling, TextPrompt
from protocol.images import has_media
from protocol.sampling import TokenId
from protocol.validation.request import NO_NUL, RequestModel, refusal
from protocol.validation.unsupported_fields import UNTRUSTED, FieldRule, only

MAX_TOKENS = 100_000
"""In one request to turn tokens into text. They are decoded in one piece, which holds up the event loop: so many for
about 30 ms."""

Name = Annotated[str, Field(min_length=1, max_length=256), NO_NUL]


class TokenizerRequest(RequestModel):
    """A request to the tokenizer of the text model."""

    model: Name | None = Field(default=None, description="A name from /v1/models; the text model without it.")


class TokenizeRequest(TokenizerRequest):
    """A text, or a chat, whose tokens are wanted: exactly one of `prompt` and `messages`."""

    field_rules: ClassVar[Mapping[str, FieldRule]] = {
        "chat_template": UNTRUSTED,
        "media_io_kwargs": only({}),
        "mm_processor_kwargs": only({}),
    }

    prompt: Annotated[str, NO_NUL] | None = Field(default=None, description="A text.")
    messages: (
        Annotated[
            list[ChatMessage],
            Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
            BeforeValidator(check_calls),
        ]
        | None
    ) = Field(default=None, description="A chat, oldest first.")
    add_special_tokens: bool | None = Field(
        default=None, description="Put the tokenizer's special tokens around it: by default of a text, not of a chat."
    )
    return_token_strs: bool = Field(default=False, description="Return each token's own text, too.")
    add_generation_prompt: bool | None = Field(
        default=None, description="Of a chat: end with the beginning of an answer; by default if none is continued."
    )
    continue_final_message: bool = Field(default=False, description="Of a chat: leave the last message open.")
    chat_template_kwargs: Annotated[dict[str, Any], AfterValidator(check_template_arguments)] | None = Field(
        default=None, description="Arguments for the chat template; only the names that the server allows."
    )
    tools: ToolList | None = Field(default=None, description="Of a chat: the tools that its model may call.")

    def generation_request(self) -> GenerationRequest:
        """A request with that prompt."""
        extras = Extras(add_special_tokens=self.add_special_tokens)
        if self.messages is None:
            return GenerationRequest(TextPrompt([self.prompt or ""]), Sampling(max_tokens=1), extras=extras)
        continues, begins = self.continue_final_message, self.add_generation_prompt
        messages = [message.template_message(position) for position, message in enumerate(self.messages)]
        prompt = ChatPrompt(
            messages,
            self.chat_template_kwargs or {},
            continues,
            add_generation_prompt=not continues if begins is None else begins,
            has_media=has_media(messages),
        )
        tools = tools_of(self.tools, None, parallel=True)
        return GenerationRequest(prompt, Sampling(max_tokens=1), tools=tools, fields=FIELD_NAMES, extras=extras)

    @model_validator(mode="after")
    def _check_forms(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise refusal(Fault.INVALID_VALUE, "or messages is needed, and not both.", ("prompt",))
        if self.continue_final_message and self.add_generation_prompt:
            predicate = "cannot be true together with continue_final_message."
            raise refusal(Fault.INVALID_VALUE, predicate, ("add_generation_prompt",))
        return self


class DetokenizeRequest(TokenizerRequest):
    """Tokens whose text is wanted."""

    tokens: list[TokenId] = Field(max_length=MAX_TOKENS, fail_fast=True, description="Ids of the model's tokens.")


class Tokenized(BaseModel):
    """The tokens of a text or a chat."""

    count: int = Field(description="How many there are.")
    max_model_len: int = Field(description="How many tokens a prompt and its answer may have together.")
    tokens: list[int] = Field(description="Their ids.")
    token_strs: list[str] | None = Field(description="Their own texts, if `return_token_strs` asked for them.")


class Detokenized(BaseModel):
    """The text of tokens."""

    prompt: str = Field(description="The text.")


def tokenized(token_ids: Sequence[int], max_model_len: int, strings: Sequence[str] | None) -> bytes:
    """The answer of `/tokenize`."""
    return orjson.dumps(
        {
            "count": len(token_ids),
            "max_model_len": max_model_len,
            "tokens": list(token_ids),
            "token_strs": None if strings is None else list(strings),
        }
    )
