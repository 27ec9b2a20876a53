"""Options of a response that are objects: its text, thoughts, stream and conversation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from protocol.chat.request import Effort
from protocol.errors import Fault
from protocol.generation import JsonOutput
from protocol.json_schema import check_schema
from protocol.validation.request import RequestPart, Text, refusal


class TextFormat(RequestPart):
    """The form of an answer: any text, any JSON object, or JSON that satisfies a schema."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(default=None, min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    # `schema` itself is taken: pydantic's models have a method of that name.
    definition: dict[str, Any] | None = Field(default=None, alias="schema", description="The JSON schema, an object.")
    strict: bool | None = Field(default=None, description="Accepted; the schema is always followed.")
    _followed: dict[str, Any] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _needs_its_schema(self) -> TextFormat:
        if self.type == "json_schema":
            if self.definition is None:
                raise refusal(Fault.MISSING_FIELD, "is required when type is 'json_schema'.", ("schema",))
            self._followed = check_schema(self.definition)
        return self

    @property
    def constraint(self) -> JsonOutput | None:
        """The form for the engine; None for any text."""
        if self.type == "text":
            return None
        return JsonOutput() if self._followed is None else JsonOutput(self._followed)


class TextOptions(RequestPart):
    """The form and style of an answer's text."""

    format: TextFormat | None = Field(default=None, description="The form the answer must take.")
    verbosity: Literal["low", "medium", "high"] | None = Field(
        default=None, description="Accepted; it changes nothing. To have short answers, ask for them in `instructions`."
    )


class ReasoningOptions(RequestPart):
    """How the model thinks, and how much of it is shown."""

    effort: Effort | None = Field(
        default=None,
        description="`none`: answer without thinking. Anything else: think, if the model can; its chat template is told"
        " how much.",
    )
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        default=None, description="Accepted; thoughts are shown as they are, in `content`, and not summed up."
    )
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = Field(
        default=None, description="Accepted; the chat template decides which thoughts the model sees again."
    )


class ResponseStreamOptions(RequestPart):
    """What a stream has besides the text."""

    include_obfuscation: bool | None = Field(
        default=None, description="Pad each delta so that its size does not tell the length of its text."
    )


class ConversationReference(RequestPart):
    """A conversation by its id."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
