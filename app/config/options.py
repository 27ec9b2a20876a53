"""Every option by name, collected from the sections of `Settings`, and how its value is parsed."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ConfigDict, Field, TypeAdapter

from app.config.settings import Section, Settings
from engine.option import Option

PREFIX = "TWOWIRE_"
NO_FLAG = frozenset({"api_keys", "admin_api_key", "relay_secret", "store_password"})
"""Secrets. Other users of a machine can read its command lines."""
RENAMED = {"front_ends": "api_server_count"}
"""Old names of options. Using one is an error that gives the new name."""
_BALANCED = "removed: the system spreads connections, and any API server finds a client's state; leave it out"
REMOVED = {"api_server_balance_by": _BALANCED, "front_ends_by": _BALANCED}
"""Options that there were, and what to do instead. Using one is an error that says so."""


def flag_name(name: str) -> str:
    """`max_queued` as a flag: `--max-queued`."""
    return "--" + key_name(name)


def variable_name(name: str) -> str:
    """`max_queued` as an environment variable: `TWOWIRE_MAX_QUEUED`."""
    return PREFIX + name.upper()


def key_name(name: str) -> str:
    """`max_queued` as a key of the configuration file: `max-queued`."""
    return name.replace("_", "-")


def did_you_mean(name: str, known: typing.Sequence[str]) -> str:
    """The end of a sentence that suggests the closest known name, or nothing if none is close."""
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


@dataclass(frozen=True)
class NamedOption:
    """A field of a section as users know it."""

    name: str
    title: str
    section: str
    """The section's name in `Settings`."""
    field: str
    type: Any
    default: Any
    spec: Option

    @cached_property
    def kind(self) -> Any:
        """The plain type: `int` for `int | None`, `tuple` for a tuple of anything, `Literal` for a choice."""
        plain: Any = self.type
        if get_origin(plain) in (Union, types.UnionType):
            plain = next(part for part in get_args(plain) if part is not type(None))
        return get_origin(plain) or plain

    def parse(self, given: object) -> Any:
        """The value that was given as text, or as a TOML value. Raises `ValueError`, often a `ValidationError`."""
        if isinstance(given, bool) and self.kind is not bool:
            raise ValueError("must not be true or false")  # In Python true is 1: `port = true` would be port 1.
        value = self._adapter.validate_python(_from_text(given, self.kind) if isinstance(given, str) else given)
        return value if value is None or self.spec.check is None else self.spec.check(value)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        bounds = Field(ge=self.spec.ge, gt=self.spec.gt, le=self.spec.le)
        annotated: Any = Annotated[self.type, bounds]
        return TypeAdapter(annotated, config=ConfigDict(allow_inf_nan=False, hide_input_in_errors=True))


def _from_text(text: str, kind: Any) -> object:
    """Flags and variables are texts: a list is separated by commas, an object is JSON."""
    if kind is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is not Mapping:
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise ValueError('must be a JSON object, such as {"seed":1}')
    return parsed


def _options() -> Iterator[NamedOption]:
    for section, (section_type, about) in _annotated(Settings, Section):
        defaults = section_type()
        for field, (field_type, spec) in _annotated(section_type, Option):
            name = spec.name or about.prefix + field
            yield NamedOption(name, about.title, section, field, field_type, getattr(defaults, field), spec)


def _annotated(owner: type, kind: type) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The fields of a dataclass that are annotated with a `kind`, each with its type and that annotation."""
    hints = typing.get_type_hints(owner, include_extras=True)
    for field in dataclasses.fields(owner):
        if get_origin(hint := hints[field.name]) is Annotated:
            plain, *metadata = get_args(hint)
            for found in metadata:
                if isinstance(found, kind):
                    yield field.name, (plain, found)


OPTIONS: Mapping[str, NamedOption] = types.MappingProxyType({option.name: option for option in _options()})
