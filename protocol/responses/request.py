"""The request of `POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, model_validator

from protocol.chat.request import TemplateArguments, asked_to_think
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, FieldNames, GenerationRequest, JsonOutput, Sampling, TextOutput
from protocol.images import has_media
from protocol.responses.input.items import AnyItem, ItemList, MessageItem, check_calls
from protocol.responses.input.rendering import rendered
from protocol.responses.options import ConversationReference, ReasoningOptions, ResponseStreamOptions, TextOptions
from protocol.responses.tool_set import NO_TOOLS, ToolSet, tool_set
from protocol.responses.tools import ToolChoiceField, ToolList
from protocol.responses.unsupported import RESPONSES_FIELDS
from protocol.sampling import MAX_INT32, Metadata, TokenFields
from protocol.validation.request import NO_NUL, Text, refusal
from protocol.validation.unsupported_fields import FieldRule
from protocol.vllm.engine_fields import EngineFields
from protocol.vllm.structured_outputs import StructuredOutputs

FIELD_NAMES = FieldNames(prompt="input", logprobs="top_logprobs", schema="text.format.schema")
LOGPROBS = "message.output_text.logprobs"

HostedTools = Literal["refuse", "omit"]

Include = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


def _input_shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<items>" if isinstance(value, list) else None


Input = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[ItemList, Tag("<items>")],
    Discriminator(
        _input_shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string or a list of items",
    ),
    BeforeValidator(check_calls),
]
ResponseId = Annotated[str, Field(min_length=1, max_length=256), NO_NUL]
Label = Annotated[str, Field(max_length=1024), NO_NUL]


def _conversation_shape(value: Any) -> str | None:
    return "<id>" if isinstance(value, str) else "<object>"


Conversation = Annotated[
    Annotated[ResponseId, Tag("<id>")] | Annotated[ConversationReference, Tag("<object>")],
    Discriminator(_conversation_shape),
]


class ResponseRequest(EngineFields, TokenFields):
    """OpenAI's `CreateResponse`, as far as it is honoured, with vLLM's extras.

    https://platform.openai.com/docs/api-reference/responses/create
    """

    field_rules: ClassVar[Mapping[str, FieldRule]] = RESPONSES_FIELDS
    _tools: ToolSet = PrivateAttr(default=NO_TOOLS)
    _earlier: Sequence[AnyItem] = PrivateAttr(default=())

    input: Input | None = Field(default=None, description="A text, or a list of items.")
    instructions: Text | None = Field(default=None, description="A system message, for this response alone.")
    previous_response_id: ResponseId | None = Field(default=None, description="The response that this one goes on.")
    conversation: Conversation | None = Field(default=None, description="The conversation that this is part of.")
    store: bool = Field(default=True, description="Keep the response, so that it can be read and continued by its id.")
    background: bool = Field(default=False, description="Answer at once, and generate without a reader.")
    max_output_tokens: int | None = Field(
        default=None, ge=1, le=MAX_INT32, description="The most tokens of the answer, thoughts included."
    )
    max_tool_calls: int | None = Field(
        default=None, ge=1, le=MAX_INT32, description="Accepted; it bounds tools that a server runs, and here are none."
    )
    tools: ToolList | None = Field(default=None, description="Tools that the model may call.")
    tool_choice: ToolChoiceField | None = Field(
        default=None,
        description="Whether the model may or must call tools, and which: none, auto, required, or an object.",
    )
    parallel_tool_calls: bool = Field(default=True, description="Allow several calls in one answer.")
    hosted_tools: HostedTools | None = Field(
        default=None,
        description="What becomes of tools that this server does not run, such as `web_search`: the request is"
        " refused, or the model is not told of them. By default, as the server's --responses-hosted-tools says.",
    )
    text: TextOptions | None = Field(default=None, description="The form of the answer.")
    reasoning: ReasoningOptions | None = Field(default=None, description="How the model thinks.")
    truncation: Literal["auto", "disabled"] | None = Field(
        default=None,
        description="`auto`: leave out the oldest turns if the input is too long; otherwise it is refused.",
    )
    include: Annotated[list[Include], Field(max_length=16)] | None = Field(
        default=None, description=f"`{LOGPROBS}`; others are accepted and add nothing."
    )
    top_logprobs: int | None = Field(
        default=None, ge=0, le=20, description="How many candidates to report for each position of the text."
    )
    stream_options: ResponseStreamOptions | None = None
    metadata: Metadata | None = Field(default=None, description="Up to 16 pairs of strings, kept with the response.")
    user: Label | None = Field(default=None, description="A name for the end user. Accepted; it changes nothing.")
    safety_identifier: Label | None = Field(default=None, description="Accepted; it changes nothing.")
    prompt_cache_key: Label | None = Field(
        default=None, description="Accepted; prompts that begin alike share the cache in any case."
    )
    structured_outputs: StructuredOutputs | None = Field(default=None, description="The form the answer must take.")
    include_stop_str_in_output: bool = Field(default=False, description="Keep the stop string that ended the answer.")
    chat_template_kwargs: TemplateArguments | None = Field(
        default=None, description="Arguments for the chat template; only the names that the server allows."
    )

    @property
    def output_token_limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def top_logprob_count(self) -> int | None:
        wanted = bool(self.top_logprobs) or LOGPROBS in (self.include or ())
        return (self.top_logprobs or 0) if wanted else None

    @property
    def include_obfuscation(self) -> bool:
        """Whether deltas are padded, so that their size does not reveal the length of their text."""
        return self.stream_options is not None and bool(self.stream_options.include_obfuscation)

    @property
    def input_items(self) -> list[AnyItem]:
        """`input` as items. Changing the list changes the request."""
        if isinstance(self.input, str):
            self.input = [MessageItem(role="user", content=self.input)]
        elif self.input is None:
            self.input = []
        return self.input

    @property
    def conversation_id(self) -> str | None:
        """The id of `conversation`."""
        named = self.conversation
        return named.id if isinstance(named, ConversationReference) else named

    @property
    def tool_set(self) -> ToolSet:
        """The tools and their names."""
        return self._tools

    def go_on_from(self, items: Sequence[AnyItem]) -> None:
        """Set the items of the earlier turns: those of `previous_response_id`, or of the conversation."""
        self._earlier = items

    def generation_request(self, hosted_tools: HostedTools = "refuse") -> GenerationRequest:
        """The request as the engine takes it. Raises `TwowireError` for hosted tools and outputs without a call.

        `hosted_tools` counts if the request has no word of its own.
        """
        if self._tools.hosted and (self.hosted_tools or hosted_tools) == "refuse":
            number, kind = self._tools.hosted[0]
            message = (
                f"tools[{number}].type '{kind}' is not offered: this server runs no tools. Remove it, or send "
                "hosted_tools: 'omit' to answer without it."
            )
            raise TwowireError(Fault.UNSUPPORTED_CONTENT, message, param=f"tools[{number}].type")
        messages = rendered(self.instructions, self._earlier, self.input_items)
        outputs = self.structured_outputs
        return GenerationRequest(
            ChatPrompt(messages, self.chat_template_kwargs or {}, has_media=has_media(messages)),
            self.sampling,
            constraint=self.constraint,
            tools=self._tools.tools,
            thinks=self._thinks,
            effort=self.reasoning.effort if self.reasoning is not None else None,
            may_truncate=self.truncation == "auto",
            is_streamed=self.stream,
            fields=FIELD_NAMES
            if outputs is None
            else replace(FIELD_NAMES, schema=f"structured_outputs.{outputs.named}"),
            extras=self.extras,
        )

    @property
    def constraint(self) -> JsonOutput | TextOutput | None:
        """The form that the answer must take; None for any text."""
        if self.structured_outputs is not None:
            return self.structured_outputs.constraint
        return self.text.format.constraint if self.text is not None and self.text.format is not None else None

    @property
    def sampling(self) -> Sampling:
        sampling = super().sampling
        return replace(sampling, include_stop_str_in_output=True) if self.include_stop_str_in_output else sampling

    @property
    def _thinks(self) -> bool | None:
        asked = asked_to_think(self.chat_template_kwargs or {})
        if asked is not None:
            return asked
        if self.reasoning is not None and self.reasoning.effort is not None:
            return self.reasoning.effort != "none"
        form = self.constraint
        # No grammar can hold both: the answer's has rules of its own.
        return False if isinstance(form, TextOutput) and form.kind == "grammar" else None

    @model_validator(mode="after")
    def _check_input(self) -> ResponseRequest:
        if self.previous_response_id is not None and self.conversation is not None:
            raise refusal(Fault.INVALID_VALUE, "cannot be combined with previous_response_id.", ("conversation",))
        if not self.input and self.previous_response_id is None and self.conversation is None:
            if self.input is None:
                raise refusal(Fault.MISSING_FIELD, "is required.", ("input",))
            raise refusal(Fault.INVALID_VALUE, "must not be empty.", ("input",))
        return self

    @model_validator(mode="after")
    def _check_combinations(self) -> ResponseRequest:
        if self.background and not self.store:
            raise refusal(Fault.INVALID_VALUE, "needs store: the response is read later.", ("background",))
        if self.stream_options is not None and not self.stream:
            raise refusal(Fault.INVALID_VALUE, "is only allowed when stream is true.", ("stream_options",))
        return self

    @model_validator(mode="after")
    def _check_tools(self) -> ResponseRequest:
        if self.tools or self.tool_choice not in (None, "none", "auto"):
            self._tools = tool_set(self.tools or [], self.tool_choice, is_parallel=self.parallel_tool_calls)
        return self

    @model_validator(mode="after")
    def _check_forms(self) -> ResponseRequest:
        if self.structured_outputs is None:
            return self
        if self.text is not None and self.text.format is not None and self.text.format.type != "text":
            predicate = "cannot be combined with text.format: an answer has one form."
            raise refusal(Fault.INVALID_VALUE, predicate, ("structured_outputs",))
        tools = self._tools.tools
        if tools is not None and tools.callable and isinstance(self.structured_outputs.constraint, TextOutput):
            at = ("structured_outputs", self.structured_outputs.named)
            raise refusal(Fault.INVALID_VALUE, "cannot be combined with tools.", at)
        return self
