"""The messages of a chat: what a client may send, and what a chat template is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from protocol.chat.content import Content, check_parts, template_content, text_of
from protocol.errors import Fault
from protocol.validation.request import NO_NUL, RequestPart, Text, is_nested_deeper, refusal

MAX_MESSAGES = 10_000
MAX_TOOL_CALLS = 128
MAX_ARGUMENTS_DEPTH = 64


Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Name = Annotated[str, Field(max_length=256), NO_NUL]


def _parsed_arguments(arguments: str) -> dict[str, Any]:
    """The object that a call's arguments spell; empty if the model that wrote them did not spell one."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def arguments_object(arguments: str | dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call as an object; for a pydantic validator."""
    parsed = _parsed_arguments(arguments) if isinstance(arguments, str) else arguments
    # A template writes arguments with a recursive encoder, which deep ones would end.
    if is_nested_deeper(parsed, MAX_ARGUMENTS_DEPTH):
        raise refusal(Fault.INVALID_VALUE, f"must be nested at most {MAX_ARGUMENTS_DEPTH} levels deep.")
    return parsed


def _arguments_shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<object>" if isinstance(value, dict) else None


Arguments = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[dict[str, Any], Tag("<object>")],
    Discriminator(
        _arguments_shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string or an object",
    ),
    AfterValidator(arguments_object),
]


class FunctionCall(RequestPart):
    """The function an assistant called.

    `arguments` is JSON as text, as a model wrote it, valid or not; or the object, as Ollama's clients keep it.
    """

    name: Name
    arguments: Arguments | None = None


class CustomCall(RequestPart):
    """The custom tool an assistant called, with its input as text."""

    name: Name
    input: Text


class FunctionOrCustom(RequestPart):
    """Has a field `function` or `custom`, as its `type` says; `function` without one."""

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if getattr(self, self.kind) is None:
            raise refusal(Fault.MISSING_FIELD, "is required.", (self.kind,))
        return self

    @property
    def kind(self) -> Literal["function", "custom"]:
        """The name of the field that it has."""
        return "custom" if getattr(self, "type", None) == "custom" else "function"


class ToolCall(FunctionOrCustom):
    """A call the assistant made earlier in the chat. OpenAI requires `id` and `type`; not every client keeps them."""

    id: Name | None = None
    type: Literal["function", "custom"] | None = None
    function: FunctionCall | None = None
    custom: CustomCall | None = None

    def template_call(self) -> dict[str, Any]:
        """The call as templates expect it: `arguments` is an object, not text; `id` is there where it was given.

        https://huggingface.co/docs/transformers/chat_extras. Arguments that are not a JSON object become
        `{}`, as in vLLM, because a chat would otherwise never get past one malformed call.
        """
        if self.type == "custom" and self.custom is not None:
            function: dict[str, Any] = {"name": self.custom.name, "arguments": {"input": self.custom.input}}
        else:
            assert self.function is not None
            function = {"name": self.function.name, "arguments": self.function.arguments or {}}
        call = {"type": "function", "function": function}
        return call if self.id is None else {"id": self.id} | call


class ChatMessage(RequestPart):
    """One turn of a chat. https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages"""

    role: Role
    content: Content | None = Field(default=None, description="Text, or a list of parts: text, images.")
    name: Name | None = Field(default=None, description="Tells participants of the same role apart.")
    refusal: Text | None = Field(default=None, description="An earlier refusal by the assistant.")
    tool_call_id: Name | None = Field(default=None, description="For role tool: the call that this answers.")
    tool_calls: list[ToolCall] | None = Field(default=None, max_length=MAX_TOOL_CALLS, fail_fast=True)
    function_call: FunctionCall | None = Field(default=None, description="The older form of `tool_calls`: one call.")
    reasoning: Text | None = Field(default=None, description="What the assistant thought before it said this.")
    reasoning_content: Text | None = Field(default=None, description="The same, under its other name.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_not_text(cls, message: Any) -> Any:
        if isinstance(message, dict) and message.get("audio") is not None:
            predicate = "is not supported: this server reads text only; send the transcript as content."
            raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("audio",))
        return message

    @model_validator(mode="after")
    def _check_role(self) -> ChatMessage:
        if self.role != "assistant":
            for field in ("tool_calls", "function_call"):
                if getattr(self, field):
                    raise refusal(Fault.INVALID_VALUE, "is only allowed for role 'assistant'.", (field,))
        if isinstance(self.content, list):
            check_parts(self.content, self.role)
        return self

    def check_last(self, position: int) -> None:
        """Raise where this message, the last of its chat, lacks what its role needs: content, or the id of a call.

        Earlier messages are what some client has kept of a chat. Refusing one would end that chat for good, so there
        null and an empty list are an empty text, for every role, and a tool's answer needs no id.
        """
        if self.role == "tool" and self.tool_call_id is None:
            raise refusal(Fault.MISSING_FIELD, "is required for role 'tool'.", ("messages", position, "tool_call_id"))
        if self.content or isinstance(self.content, str) or self.role in ("assistant", "tool", "function"):
            return
        at = ("messages", position, "content")
        if self.content is None:
            raise refusal(Fault.MISSING_FIELD, f"is required for role '{self.role}'.", at)
        raise refusal(Fault.INVALID_VALUE, "must not be empty.", at)

    @property
    def text(self) -> str:
        """The message's text: its parts joined with nothing between; empty where there are none."""
        return text_of(self.content) if self.content else self.refusal or ""

    def template_message(self, position: int = 0) -> dict[str, Any]:
        """What a chat template is given for this message, the one at `position` of its chat.

        `role` and `content` (a string, or with images a list of parts: see `protocol.generation.ChatPrompt`); where
        they were given, `name`, `tool_call_id`, `tool_calls`.
        """
        # What answers a call of the older form is a tool's message to templates.
        role = "tool" if self.role == "function" else self.role
        content = self.content or self.refusal or ""
        message: dict[str, Any] = {"role": role, "content": content}
        if not isinstance(content, str):
            message["content"] = template_content(content, f"messages[{position}].content")
        if self.name:
            message["name"] = self.name
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        if self.tool_calls:
            message["tool_calls"] = [call.template_call() for call in self.tool_calls]
        elif self.function_call is not None:
            message["tool_calls"] = [ToolCall(function=self.function_call).template_call()]
        if thoughts := self.reasoning or self.reasoning_content:
            # Some templates read one of these, some the other.
            message["reasoning"] = message["reasoning_content"] = thoughts
        return message
