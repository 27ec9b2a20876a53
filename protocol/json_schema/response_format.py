"""`response_format`: the form that an answer is to have."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from protocol.errors import Fault
from protocol.json_schema.check import check_schema
from protocol.validation.request import NO_NUL, RequestPart, refusal


class JsonSchemaFormat(RequestPart):
    """The schema an answer must satisfy. Without `schema`, any JSON object does."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$", description="A name for the schema.")
    description: Annotated[str, NO_NUL] | None = Field(default=None, description="What the answer is for.")
    # `schema` itself is taken: pydantic's models have a method of that name.
    definition: Annotated[dict[str, Any], AfterValidator(check_schema)] | None = Field(
        default=None, alias="schema", description="The JSON schema, an object."
    )
    strict: bool | None = Field(default=None, description="Accepted; the schema is always followed.")


class ResponseFormat(RequestPart):
    """The form an answer must take: any text, any JSON object, or JSON that satisfies a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _needs_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            predicate = "is required when response_format.type is 'json_schema'."
            raise refusal(Fault.MISSING_FIELD, predicate, ("json_schema",))
        return self
