"""The command line of `twowire serve`, and the same facts as Markdown tables, both made from the options.

Does not know the environment or the configuration file, and never checks a value: the options do.
"""

from __future__ import annotations

import argparse
import textwrap
import types
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from app.config.field import GROUPS
from app.config.settings import Settings, SettingsError

PREFIX = Settings.model_config["env_prefix"]
NO_FLAG = frozenset({"api_keys"})
"""Secrets. Other users of a machine can read its command lines."""

RENAMED = {"front_ends": "api_server_count", "front_ends_by": "api_server_balance_by"}
"""Options that once had another name, by that name: using it is an error that names the new one."""

_DESCRIPTION = """\
Serve a language model over OpenAI's HTTP routes and a WebSocket.

Each option is also an environment variable, and a key of the TOML file that --config names. A flag wins over
the variable, the variable over the file, and the file over the default."""


def flag_name(field: str) -> str:
    """`max_queued` as it is written on the command line: `--max-queued`."""
    return "--" + field.replace("_", "-")


def variable_name(field: str) -> str:
    """`max_queued` as it is written in the environment: `TWOWIRE_MAX_QUEUED`."""
    return PREFIX + field.upper()


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a sentence that offers the nearest of the known names, or nothing when none is near."""
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def read_flags(argv: Sequence[str]) -> dict[str, Any]:
    """The options given on the command line, by field, as texts (true or false for switches).

    Raises SettingsError for an unknown flag. `--help` prints the help and raises SystemExit(0).
    """
    found, unknown = _parser().parse_known_args(argv)
    if unknown:
        raise SettingsError(_unknown_argument(unknown[0]))
    # A list flag may be repeated, take several words, and hold commas: all of it is one text with commas.
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in vars(found).items()}


def markdown_tables() -> str:
    """Every option as Markdown, a table for each group."""
    parts = []
    for group, fields in _groups().items():
        parts.append(f"### {group}\n")
        parts.append("| Key | Flag | Variable | Default | Meaning |")
        parts.append("|---|---|---|---|---|")
        for name, field in fields.items():
            parts.append("| " + " | ".join(_row(name, field)) + " |")
        parts.append("")
    return "\n".join(parts)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Our own error in place of argparse's, which prints the usage and leaves."""
        raise SettingsError(message.removeprefix("argument ")) from None


def _parser() -> _Parser:
    # Without allow_abbrev=False, --api-keys would mean --api-keys-file.
    parser = _Parser(
        prog="twowire serve",
        usage="twowire serve [options]",
        description=_DESCRIPTION,
        epilog=_without_flags(),
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    for group, fields in _groups().items():
        section = parser.add_argument_group(group)
        for name, field in fields.items():
            if name not in NO_FLAG:
                section.add_argument(flag_name(name), **_argument(name, field))
    parser.add_argument_group("Help").add_argument("-h", "--help", action="help", help="Print this text.")
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Keep the line break before a default; argparse's own RawTextHelpFormatter overrides this, too."""
        return [line for part in text.splitlines() for line in super(_HelpFormatter, self)._split_lines(part, width)]


def _argument(name: str, field: FieldInfo) -> dict[str, Any]:
    """What argparse is told of a field. Values stay texts."""
    text = f"{field.description}\n(default: {default_text(field)}, env: {variable_name(name)})"
    argument: dict[str, Any] = {"dest": name, "help": text.replace("%", "%%")}
    kind = _kind(field)
    if kind is bool:
        return argument | {"action": argparse.BooleanOptionalAction}
    argument["metavar"] = _metavar(field, kind)
    if kind is list:
        argument |= {"nargs": "+", "action": "extend"}
    return argument


def _kind(field: FieldInfo) -> Any:
    """A field's plain type: `int` for `int | None`, `list` for a list of anything, `Literal` for a choice."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return get_origin(annotation) or annotation


def _metavar(field: FieldInfo, kind: Any) -> str:
    if kind is Literal:
        return "{" + ",".join(get_args(field.annotation)) + "}"
    return str(_extra(field)["metavar"]) or {int: "N", Path: "FILE"}.get(kind, "VALUE")


def _extra(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra


def default_text(field: FieldInfo) -> str:
    """A field's default for people to read."""
    if shown := _extra(field)["shown"]:
        return str(shown)
    match field.default:
        case bool(switch):
            return str(switch).lower()
        case list(names):
            return ",".join(names)
        case float(number):
            return f"{number:g}"
        case other:
            return str(other)


def _groups() -> dict[str, dict[str, FieldInfo]]:
    groups: dict[str, dict[str, FieldInfo]] = {}
    for name, field in Settings.model_fields.items():
        groups.setdefault(_extra(field)["group"], {})[name] = field
    return {group: groups[group] for group in GROUPS}


def _without_flags() -> str:
    lines = ["Only in the environment or the file:"]
    for name in sorted(NO_FLAG):
        lines.append(f"  {variable_name(name)}")
        indent = " " * 6
        text = str(Settings.model_fields[name].description)
        lines.append(textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent))
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    flag = f"`{flag_name(name)}`"
    if name in NO_FLAG:
        flag = "none"
    elif _kind(field) is bool:
        flag += f" `--no-{name.replace('_', '-')}`"
    key = "none" if name == "config" else f"`{name.replace('_', '-')}`"
    default = default_text(field) if _extra(field)["shown"] else f"`{default_text(field)}`"
    cells = (key, flag, f"`{variable_name(name)}`", default, str(field.description))
    return tuple(cell.replace("|", "\\|") for cell in cells)


def _unknown_argument(argument: str) -> str:
    name = argument.partition("=")[0]  # What follows may be a secret.
    if not name.startswith("-"):
        return f"unexpected argument {name!r}"
    if (field := name.removeprefix("--").replace("-", "_")) in NO_FLAG:
        return (
            f"{name}: not an option, because other users of this machine can read its command lines; "
            f"use {variable_name(field)} or --api-keys-file"
        )
    if field in RENAMED:
        return f"{name}: renamed to {flag_name(RENAMED[field])}"
    known = [flag_name(field) for field in Settings.model_fields if field not in NO_FLAG]
    return f"{name}: unknown option{did_you_mean(name, known)}"
