"""The requests of `POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from protocol.chat.messages import MAX_MESSAGES
from protocol.errors import Fault
from protocol.extras import NO_EXTRAS, Extras
from protocol.generation import ChatPrompt, FieldNames, GenerationRequest, JsonOutput, Sampling, Tools
from protocol.images import has_media
from protocol.json_schema import check_schema
from protocol.messages.blocks import SystemContent
from protocol.messages.conversation import AssistantMessage, Message, system_messages
from protocol.messages.tools import ToolChoiceField, ToolList, tools_of
from protocol.messages.unsupported import MESSAGES_FIELDS
from protocol.sampling import MAX_INT32, MAX_STOP_STRINGS, StopString, TopK
from protocol.validation.request import ApiRequest, RequestPart, refusal
from protocol.validation.unsupported_fields import FieldRule
from protocol.vllm.engine_fields import EngineFields

FIELD_NAMES = FieldNames(prompt="messages", schema="output_config.format.schema")

ThinkingDisplay = Literal["summarized", "omitted"]


class Thinking(RequestPart):
    """Whether the model is to think before it answers, and whether its thoughts are shown."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: int | None = Field(
        default=None, ge=1024, le=MAX_INT32, description="Required with `enabled`: the most tokens of thoughts."
    )
    display: ThinkingDisplay | None = Field(
        default=None, description="`omitted`: thinking blocks come without their text."
    )

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        if self.type == "enabled" and self.budget_tokens is None:
            raise refusal(Fault.MISSING_FIELD, "is required with type 'enabled'.", ("budget_tokens",))
        return self


class OutputFormat(RequestPart):
    """The JSON schema that an answer must satisfy."""

    type: Literal["json_schema"]
    # `schema` itself is taken: pydantic's models have a method of that name.
    definition: Annotated[dict[str, Any], AfterValidator(check_schema)] = Field(
        alias="schema", description="The JSON schema, an object."
    )


class OutputConfig(RequestPart):
    """How much the model is to think, and the form of its answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None, description="The chat template is told, if it asks for `reasoning_effort`."
    )
    format: OutputFormat | None = None


class PromptFields(ApiRequest):
    """What makes the prompt."""

    field_rules: ClassVar[Mapping[str, FieldRule]] = MESSAGES_FIELDS
    _tools: Tools | None = PrivateAttr(default=None)

    messages: list[Message] = Field(
        min_length=1, max_length=MAX_MESSAGES, fail_fast=True, description="The chat so far, oldest first."
    )
    system: SystemContent | None = Field(default=None, description="The instructions: a string or text blocks.")
    tools: ToolList | None = Field(default=None, description="Tools that the client runs.")
    tool_choice: ToolChoiceField | None = Field(
        default=None, description="Whether the model may or must call tools, and which."
    )
    thinking: Thinking | None = Field(default=None, description="Without it, the model does not think, if it can help.")
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = Field(default=None, description="The older form of `output_config.format`.")

    @model_validator(mode="after")
    def _check_tools(self) -> Self:
        self._tools = tools_of(self.tools, self.tool_choice)
        return self

    @model_validator(mode="after")
    def _check_last_message(self) -> Self:
        last = self.messages[-1]
        if not isinstance(last, AssistantMessage):
            return self
        at = ("messages", len(self.messages) - 1)
        if last.has_calls:
            raise refusal(Fault.INVALID_VALUE, "must be followed by the results of its calls (tool_result).", at)
        if not str(next(last.template_messages())["content"]).strip():
            raise refusal(Fault.INVALID_VALUE, "is to be continued, and has no text.", at)
        if self.tools:
            raise refusal(Fault.INVALID_VALUE, "is to be continued, which cannot be combined with tools.", at)
        if self.thinking is not None and self.thinking.type in ("enabled", "adaptive"):
            raise refusal(Fault.INVALID_VALUE, "is to be continued, which cannot be combined with thinking.", at)
        return self

    @property
    def prompt(self) -> ChatPrompt:
        """The chat for the model's template. A last message of the assistant is continued."""
        messages = system_messages(self.system)
        for position, message in enumerate(self.messages):
            messages += message.template_messages(position)
        continues = isinstance(self.messages[-1], AssistantMessage)
        return ChatPrompt(messages, {}, continues, has_media=has_media(messages))

    @property
    def thinks(self) -> bool | None:
        """Whether the model is to think; None leaves it to the model."""
        if self.thinking is None:
            return False
        return {"enabled": True, "adaptive": None}.get(self.thinking.type, False)

    @property
    def thinking_display(self) -> ThinkingDisplay | None:
        """How thoughts are shown; None if the client has not asked for any, and may not know such blocks."""
        if self.thinking is None or self.thinking.type not in ("enabled", "adaptive"):
            return None
        return self.thinking.display or "summarized"

    @property
    def constraint(self) -> JsonOutput | None:
        """The form that the answer must take; None for any text."""
        wanted = (self.output_config and self.output_config.format) or self.output_format
        return JsonOutput(wanted.definition) if wanted else None

    def generation_request(self) -> GenerationRequest:
        """The request as the engine takes it."""
        return GenerationRequest(
            self.prompt,
            self._sampling(),
            constraint=self.constraint,
            tools=self._tools,
            thinks=self.thinks,
            effort=self.output_config.effort if self.output_config is not None else None,
            max_thoughts=self.thinking.budget_tokens if self.thinking is not None else None,
            is_streamed=self.stream,
            fields=FIELD_NAMES,
            extras=self._extras(),
        )

    def _sampling(self) -> Sampling:
        return Sampling(max_tokens=1)

    def _extras(self) -> Extras:
        return NO_EXTRAS


class CountTokensRequest(PromptFields):
    """Asks for the number of tokens of a prompt."""


class MessagesRequest(EngineFields, PromptFields):
    """Anthropic's request to create a message. https://platform.claude.com/docs/en/api/messages"""

    max_tokens: int = Field(ge=1, le=MAX_INT32, description="The most tokens that the answer may have, thoughts too.")
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Higher is more random; 0 always takes the likeliest token."
    )
    top_p: float | None = Field(
        default=None, ge=0, le=1, description="Sample from the likeliest tokens that make up this probability."
    )
    top_k: TopK = None
    stop_sequences: list[StopString] | None = Field(
        default=None,
        max_length=MAX_STOP_STRINGS,
        fail_fast=True,
        description="Up to 16 strings that end the answer and are not part of it.",
    )

    def _sampling(self) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=self.stop_sequences,
            max_tokens=self.max_tokens,
        )

    def _extras(self) -> Extras:
        return self.extras
