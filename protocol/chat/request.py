"""The request of `POST /v1/chat/completions`, and of a chat on the WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, model_validator

from protocol.chat.messages import MAX_MESSAGES, ChatMessage
from protocol.chat.style import PLAIN, ChatStyle
from protocol.chat.tools import (
    FunctionList,
    LegacyChoice,
    ToolChoiceField,
    ToolList,
    legacy_choice,
    legacy_tools,
    tools_of,
)
from protocol.chat.unsupported import CHAT_FIELDS
from protocol.errors import Fault
from protocol.generation import ChatPrompt, FieldNames, GenerationRequest, TextOutput, Tools
from protocol.images import has_media
from protocol.sampling import MAX_INT32
from protocol.validation.request import is_nested_deeper, refusal
from protocol.validation.structure import excess_of
from protocol.validation.unsupported_fields import FieldRule
from protocol.vllm.fields import VllmFields

MAX_TEMPLATE_ARGUMENTS_DEPTH = 32
MAX_TEMPLATE_ARGUMENTS_BYTES = 64 * 1024
FIELD_NAMES = FieldNames(prompt="messages", logprobs="top_logprobs")


def check_template_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """For a validator: refuse arguments of the chat template that are too large or too deep."""
    if is_nested_deeper(arguments, MAX_TEMPLATE_ARGUMENTS_DEPTH):
        predicate = f"must be nested at most {MAX_TEMPLATE_ARGUMENTS_DEPTH} levels deep."
        raise refusal(Fault.INVALID_VALUE, predicate)
    try:
        size = len(orjson.dumps(arguments))
    except orjson.JSONEncodeError:
        raise refusal(Fault.INVALID_VALUE, "must be plain JSON.") from None
    if size > MAX_TEMPLATE_ARGUMENTS_BYTES:
        predicate = f"must have at most {MAX_TEMPLATE_ARGUMENTS_BYTES} bytes, got {size}."
        raise refusal(Fault.INVALID_VALUE, predicate)
    return arguments


def check_calls(messages: Any) -> Any:
    """Refuse calls whose arguments, JSON as text, would be too much together: the body's own bound sees only text."""
    if not isinstance(messages, list):
        return messages
    texts = [
        function["arguments"].encode(errors="replace")
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("tool_calls"), list)
        for call in message["tool_calls"]
        if isinstance(call, dict) and isinstance(function := call.get("function"), dict)
        if isinstance(function.get("arguments"), str)
    ]
    if excess := excess_of(*texts):
        raise refusal(Fault.INVALID_VALUE, excess.replace("holds", "has tool calls whose arguments hold", 1))
    return messages


def asked_to_think(arguments: Mapping[str, Any]) -> bool | None:
    """Whether arguments of the chat template ask for thoughts; None if they do not say."""
    asked = arguments.get("enable_thinking", arguments.get("thinking"))
    return asked if isinstance(asked, bool) else None


TemplateArguments = Annotated[dict[str, Any], AfterValidator(check_template_arguments)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
"""OpenAI's values of `reasoning_effort`."""


class ChatCompletionRequest(VllmFields):
    """OpenAI's `CreateChatCompletionRequest`, as far as it is honoured, with vLLM's extras.

    https://platform.openai.com/docs/api-reference/chat/create
    """

    field_rules: ClassVar[Mapping[str, FieldRule]] = CHAT_FIELDS
    _tools: Tools | None = PrivateAttr(default=None)

    messages: Annotated[
        list[ChatMessage],
        Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
        BeforeValidator(check_calls),
    ] = Field(description="The chat so far, oldest first.")
    max_completion_tokens: int | None = Field(
        default=None,
        ge=1,
        le=MAX_INT32,
        description="The most tokens that one answer may have; wins over max_tokens.",
    )
    logprobs: bool = Field(default=False, description="Report the log probability of each token of the answer.")
    top_logprobs: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="With `logprobs`: how many candidates to report for each position. Without, only 0.",
    )
    chat_template_kwargs: TemplateArguments | None = Field(
        default=None, description="Arguments for the chat template; only the names that the server allows."
    )

    tools: ToolList | None = Field(default=None, description="Tools that the model may call.")
    tool_choice: ToolChoiceField | None = Field(
        default=None,
        description="Whether the model may or must call tools, and which: none, auto, required, or an object.",
    )
    parallel_tool_calls: bool = Field(default=True, description="Allow several calls in one answer.")
    functions: FunctionList | None = Field(default=None, description="The older form of `tools`.")
    function_call: LegacyChoice | None = Field(default=None, description="The older form of `tool_choice`.")
    reasoning_effort: Effort | None = Field(
        default=None,
        description="`none`: answer without thinking. Anything else: think, if the model can; its chat template is told"
        " how much.",
    )
    thinking_token_budget: int | None = Field(
        default=None, ge=-1, le=MAX_INT32, description="The most tokens that the model may think; -1 for no limit."
    )
    include_reasoning: bool = Field(default=True, description="Send what the model thought beside its answer.")

    continue_final_message: bool = Field(
        default=False,
        description="Go on with the text of the last message, the assistant's, in place of a new turn. The answer is "
        "what follows it.",
    )
    echo: bool = Field(
        default=False,
        description="With `continue_final_message`: begin the answer with the text of the last message.",
    )
    add_generation_prompt: bool | None = Field(
        default=None, description="Accepted where it says what `continue_final_message` means: its opposite."
    )

    @property
    def output_token_limit(self) -> int | None:
        """The most tokens one answer may have; None to fill the rest of the context."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def top_logprob_count(self) -> int | None:
        """How many candidates (0 to 20) to report beside each token; None where no logprobs are wanted."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def generation_request(self) -> GenerationRequest:
        """The request as the engine takes it."""
        messages = [message.template_message(position) for position, message in enumerate(self.messages)]
        prompt = ChatPrompt(
            messages, self.chat_template_kwargs or {}, self.continue_final_message, has_media=has_media(messages)
        )
        budget = None if self.thinking_token_budget == -1 else self.thinking_token_budget
        return GenerationRequest(
            prompt,
            self.sampling,
            self.choice_count,
            self.constraint,
            tools=self._tools,
            thinks=self._thinks,
            effort=self.reasoning_effort,
            max_thoughts=budget,
            must_limit_thoughts=budget is not None,
            is_streamed=self.stream,
            fields=FIELD_NAMES if self.constraint_field is None else replace(FIELD_NAMES, schema=self.constraint_field),
            extras=self.extras,
        )

    @property
    def _thinks(self) -> bool | None:
        asked = asked_to_think(self.chat_template_kwargs or {})
        if asked is not None:
            return asked
        if self.reasoning_effort is not None:
            return self.reasoning_effort != "none"
        form = self.constraint
        # No grammar can hold both: the answer's has rules of its own.
        return False if isinstance(form, TextOutput) and form.kind == "grammar" else None

    @property
    def style(self) -> ChatStyle:
        """In which form the answer is shown."""
        if self.echo and self.continue_final_message:
            return ChatStyle(self.include_reasoning, beginning=self.messages[-1].text)
        declared = self._tools
        if declared is None and self.include_reasoning:
            return PLAIN
        tools = declared.tools if declared is not None else ()
        custom = frozenset(tool.name for tool in tools if tool.is_custom)
        return ChatStyle(self.include_reasoning, bool(self.functions), declared is not None, custom)

    @model_validator(mode="after")
    def _check_tools(self) -> ChatCompletionRequest:
        if self.functions and self.tools:
            raise refusal(Fault.INVALID_VALUE, "cannot be combined with tools; send tools alone.", ("functions",))
        if self.functions:
            declared, choice = legacy_tools(self.functions), legacy_choice(self.function_call)
            tools = tools_of(declared, choice, parallel=False)
        else:
            if self.function_call not in (None, "none", "auto"):
                raise refusal(Fault.INVALID_VALUE, "needs functions.", ("function_call",))
            tools = tools_of(self.tools, self.tool_choice, parallel=self.parallel_tool_calls)
        self._tools = tools
        if tools is not None and tools.callable and isinstance(self.constraint, TextOutput):
            field = (self.constraint_field or "").split(".")
            raise refusal(Fault.INVALID_VALUE, "cannot be combined with tools.", tuple(field))
        if tools is not None and self.continue_final_message:
            raise refusal(Fault.INVALID_VALUE, "cannot be combined with tools.", ("continue_final_message",))
        return self

    @model_validator(mode="after")
    def _check_logprobs(self) -> ChatCompletionRequest:
        if self.top_logprobs and not self.logprobs:
            raise refusal(Fault.INVALID_VALUE, "is only allowed when logprobs is true.", ("top_logprobs",))
        return self

    @model_validator(mode="after")
    def _check_last_message(self) -> ChatCompletionRequest:
        self.messages[-1].check_last(len(self.messages) - 1)
        return self

    @model_validator(mode="after")
    def _check_continuation(self) -> ChatCompletionRequest:
        if self.add_generation_prompt is not None and self.add_generation_prompt == self.continue_final_message:
            raise refusal(
                Fault.INVALID_VALUE, "must be the opposite of continue_final_message.", ("add_generation_prompt",)
            )
        if self.continue_final_message:
            last = self.messages[-1]
            if last.role != "assistant" or last.tool_calls or not last.text.strip():
                predicate = "needs a last message of role 'assistant' that has text and no tool_calls."
                raise refusal(Fault.INVALID_VALUE, predicate, ("continue_final_message",))
        return self
