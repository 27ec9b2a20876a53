"""What every request model shares: strictness, its unknown fields, and the way a validator refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from protocol.errors import Fault
from protocol.validation.unsupported_fields import FieldRule

SHOWN_CHARS = 60
"""How much of a client's own value an error message repeats, in characters."""


class RequestPart(BaseModel):
    """An object inside a request: nothing is coerced, no number is infinite, unknown keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


def whole(value: Any) -> Any:
    """A float that is an integer of 64 bits as that; anything else as it is.

    To JSON, 8.0 is the number 8, and languages without integers write it so.
    """
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 2**63 else value


def _whole_items(value: Any) -> Any:
    if type(value) is not list or not value or type(value[0]) is not float:
        return value
    return [whole(item) for item in value]


def _with_integers(value: Any) -> Any:
    """`value`, a field of a request, with 8.0 as 8; in lists, and lists of lists, where they begin with a float."""
    if type(value) is float:
        return whole(value)
    if type(value) is list and value and type(value[0]) is list:
        return [_whole_items(item) for item in value]
    return _whole_items(value)


class RequestModel(RequestPart):
    """A whole request. Build one with `protocol.validation.parse`, which turns what is wrong into a `TwowireError`."""

    @model_validator(mode="before")
    @classmethod
    def _take_whole_floats(cls, body: Any) -> Any:
        return {name: _with_integers(value) for name, value in body.items()} if isinstance(body, dict) else body

    field_rules: ClassVar[Mapping[str, FieldRule]] = {}
    """Fields that are known but not honoured; see `protocol.validation.unsupported_fields`."""

    _unknown_fields: tuple[str, ...] = PrivateAttr(default=())

    @property
    def unknown_fields(self) -> tuple[str, ...]:
        """Names at the top level that neither OpenAI nor vLLM nor this server knows: ignored, sorted."""
        return self._unknown_fields


def refusal(fault: Fault, predicate: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """The exception for a validator to raise: `<field> <predicate>` will be the client's message.

    `at` leads from what is being validated to the field at fault, for example `("content", 1, "type")`.
    """
    return PydanticCustomError(fault.name, "{predicate}", {"predicate": predicate, "at": at})


def shown(value: object) -> str:
    """A short word for what a client gave: small values themselves, otherwise only their kind.

    Text is never repeated, because it may be a prompt; callers that know better use `quoted`.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        # Python refuses to print an int of more than 4300 digits; such an int cannot come from JSON.
        return "a huge integer" if abs(value) > 1 << 128 else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def quoted(text: str) -> str:
    """`text` in quotes, cut to 60 characters, and safe to encode (a lone surrogate is shown as an escape)."""
    return repr(text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…")


def is_nested_deeper(value: object, limit: int) -> bool:
    """Whether lists and objects in `value` stand more than `limit` deep (a bare list or object is 1 deep)."""
    # Level by level, because recursion would fail on exactly the values this is here to find.
    level = [value]
    for _ in range(limit + 1):
        children: list[object] = []
        for node in level:
            if isinstance(node, dict):
                children.extend(node.values())
                children.append(None)
            elif isinstance(node, list):
                children.extend(node)
                children.append(None)
        if not children:
            return False
        level = children
    return True


def _refuse_nul(text: str) -> str:
    # Tokenizers written in C and templates treat NUL as an end or as padding; no real text contains it.
    if "\x00" in text:
        raise refusal(Fault.INVALID_VALUE, "must not contain NUL characters (U+0000).")
    return text


NO_NUL = AfterValidator(_refuse_nul)

Text = Annotated[str, NO_NUL]
"""A string without NUL."""


def at_most_entries(limit: int) -> BeforeValidator:
    """Refuses an object of more than `limit` entries.

    pydantic's own `max_length` counts a dict only after it has validated every entry, and has collected an
    error for each bad one.
    """

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > limit:
            raise refusal(Fault.INVALID_VALUE, f"must have at most {limit} entries, got {len(value)}.")
        return value

    return BeforeValidator(check)


class ApiRequest(RequestModel):
    """A whole request of an API that generates."""

    model: Annotated[str, Field(min_length=1, max_length=256), NO_NUL] = Field(description="A name from /v1/models.")
    stream: bool = Field(default=False, description="Send the answer in chunks while it is made.")
