"""Reads the settings once: flags, then the environment, then the configuration file, then the defaults."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.config.checks import checked
from app.config.command_line import markdown_tables, read_flags
from app.config.options import (
    OPTIONS,
    PREFIX,
    REMOVED,
    RENAMED,
    NamedOption,
    did_you_mean,
    flag_name,
    key_name,
    variable_name,
)
from app.config.settings import Settings, SettingsError
from app.config.values import FieldError

__all__ = ["Settings", "SettingsError", "load_settings", "markdown_tables"]

MAX_QUOTED_CHARS = 80
"""How much of a wrong value an error message quotes."""
MAX_REASON_CHARS = 300
"""The longest reason of our own; it may quote a value, too."""


class _Given(NamedTuple):
    value: object
    origin: str
    """Where the value was set: `--port`, `TWOWIRE_PORT`, `twowire.toml: port`."""


def load_settings(argv: Sequence[str], environ: Mapping[str, str], *, is_follower: bool = False) -> Settings:
    """The settings of this start, from the flags of `twowire serve` and the environment.

    `is_follower`: of `twowire engine` instead, which takes only the options that concern an engine as flags.
    Raises SettingsError, whose text is one line that names the flag, variable or key to change. `--help` in
    `argv` prints the help and raises SystemExit(0).
    """
    flags = {name: _Given(value, flag_name(name)) for name, value in read_flags(argv, is_follower=is_follower).items()}
    variables = _read_environment(environ)
    file = flags.get("config") or variables.get("config")
    given = {**(_read_file(file) if file else {}), **variables, **flags}
    try:
        return checked(_parsed(given), given.keys(), is_follower=is_follower)
    except FieldError as error:
        origin = given[error.field].origin if error.field in given else flag_name(error.field)
        raise SettingsError(f"{origin}: {_one_line(str(error), MAX_REASON_CHARS)}") from None


def _parsed(given: Mapping[str, _Given]) -> Settings:
    values: dict[str, dict[str, Any]] = {}
    for name, option in OPTIONS.items():
        if name in given:
            values.setdefault(option.section, {})[option.field] = _value(option, given[name])
    settings = Settings()
    return replace(settings, **{name: replace(getattr(settings, name), **found) for name, found in values.items()})


def _value(option: NamedOption, given: _Given) -> Any:
    try:
        return option.parse(given.value)
    except ValidationError as error:
        # Not chained: the validation error holds the values, keys among them.
        raise SettingsError(f"{given.origin}: {_reason(error.errors(include_url=False)[0], option)}") from None
    except ValueError as error:
        raise SettingsError(f"{given.origin}: {_one_line(str(error), MAX_REASON_CHARS)}") from None


def _read_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    known = {variable_name(name): name for name in OPTIONS}
    # In any case: `twowire_port` would otherwise be ignored silently.
    ours = [name for name in environ if name.upper().startswith(PREFIX)]
    unknown = sorted(name for name in ours if name not in known)
    for name in unknown:
        if name.endswith("_SERVICE_HOST"):
            raise SettingsError(
                f"{name}: Kubernetes sets this for a service of that name, and perhaps TWOWIRE_PORT too; "
                "set enableServiceLinks: false in the pod's specification"
            )
        field = name.upper().removeprefix(PREFIX).lower()
        if new := RENAMED.get(field):
            raise SettingsError(f"{name}: renamed to {variable_name(new)}")
        if field in REMOVED:
            raise SettingsError(f"{name}: {REMOVED[field]}")
    if unknown:
        listed = ", ".join(unknown)
        raise SettingsError(f"{listed}: unknown variable{did_you_mean(unknown[0].upper(), list(known))}")
    return {known[name]: _Given(environ[name], name) for name in ours}


def _read_file(file: _Given) -> dict[str, _Given]:
    path = Path(str(file.value))
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{file.origin}: cannot read {str(path)!r}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = error if isinstance(error, tomllib.TOMLDecodeError) else "not UTF-8 text or nested too deeply"
        raise SettingsError(f"{path}: not a TOML file: {_one_line(str(reason))}") from None
    known = [key_name(name) for name in OPTIONS if name != "config"]
    given: dict[str, _Given] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name in RENAMED:
            raise SettingsError(f"{path}: {key}: renamed to {key_name(RENAMED[name])}")
        if name in REMOVED:
            raise SettingsError(f"{path}: {key}: {REMOVED[name]}")
        if key_name(name) not in known:
            raise SettingsError(f"{path}: unknown key {key!r}{did_you_mean(key, known)}")
        if name in given:
            raise SettingsError(f"{path}: {key}: given twice, with - and with _")
        given[name] = _Given(value, f"{path}: {key}")
    return given


def _reason(error: ErrorDetails, option: NamedOption) -> str:
    """What pydantic found wrong, in one sentence."""
    place = f"item {error['loc'][0] + 1}: " if error["loc"] and isinstance(error["loc"][0], int) else ""
    if (cause := error.get("ctx", {}).get("error")) is not None:
        return f"{place}{_one_line(str(cause), MAX_REASON_CHARS)}"
    got = ""
    if not option.spec.is_secret:
        # The text '70000' is a number that is too large: it needs no quotes.
        is_bound = error["type"].startswith(("greater_than", "less_than"))
        got = f", got {_one_line(str(error['input']) if is_bound else repr(error['input']))}"
    return f"{place}{_demand(error)}{got}"


def _demand(error: ErrorDetails) -> str:
    """What the value must be, by pydantic's type of error."""
    limits: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return "must be an integer"
        case "float_parsing" | "float_type" | "finite_number":
            return "must be a number"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "string_type" | "path_type":
            return "must be a text"
        case "tuple_type":
            return "must be a list"
        case "mapping_type" | "dict_type":
            return "must be a table"
        case "literal_error":
            return f"must be one of {limits['expected']}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']:g}"
        case "greater_than":
            return f"must be greater than {limits['gt']:g}"
        case "less_than_equal":
            return f"must be at most {limits['le']:g}"
        case _:
            return error["msg"]


def _one_line(text: str, limit: int = MAX_QUOTED_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[:limit] + "…"


if __name__ == "__main__":
    sys.stdout.write(markdown_tables())
