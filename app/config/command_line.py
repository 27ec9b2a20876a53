"""The command line of `twowire serve`, and the same options as Markdown tables."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from app.config.options import (
    NO_FLAG,
    OPTIONS,
    REMOVED,
    RENAMED,
    NamedOption,
    did_you_mean,
    flag_name,
    key_name,
    variable_name,
)
from app.config.settings import SettingsError

UNITS = {"_s": "SECONDS", "_ms": "MILLISECONDS", "_bytes": "BYTES", "_mib": "MIB", "_gib": "GIB"}

_OF_FOLLOWERS = frozenset({"Model and engine", "Ranks and machines", "Logging", "Configuration file"})
"""The titles whose options are flags of `twowire engine`."""
ONLY_OF_FOLLOWERS = frozenset({"data_parallel_start_rank", "leader_url"})

_DESCRIPTION = """\
Serve a language model over OpenAI's HTTP routes and a WebSocket.

Each option is also an environment variable, and a key of the TOML file that --config names. A flag wins over
the variable, the variable over the file, and the file over the default."""


_DESCRIPTION_OF_FOLLOWER = """\
Run ranks of an engine whose server, `twowire serve`, is on another machine. Give it the server's model options.

It exits with an error when a rank dies or the server starts another engine; let a supervisor restart it.
Options are read as by `twowire serve`. Options for the server alone are ignored in the environment and the file."""


def read_flags(argv: Sequence[str], *, is_follower: bool = False) -> dict[str, Any]:
    """The options given on the command line, by name, as texts (true or false for switches).

    Raises SettingsError for an unknown flag. `--help` prints the help and raises SystemExit(0).
    """
    found, unknown = _parser(is_follower=is_follower).parse_known_args(argv)
    if unknown:
        raise SettingsError(_unknown_argument(unknown[0], is_follower=is_follower))
    # A list flag may be repeated, take several words, and hold commas: all of it is one text with commas.
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in vars(found).items()}


def markdown_tables() -> str:
    """Every option as Markdown, one table per title."""
    parts = []
    for title, options in _by_title().items():
        parts.append(f"### {title}\n")
        parts.append("| Key | Flag | Variable | Default | Meaning |")
        parts.append("|---|---|---|---|---|")
        parts.extend("| " + " | ".join(_row(option)) + " |" for option in options)
        parts.append("")
    return "\n".join(parts)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise our own error instead of printing the usage and exiting."""
        raise SettingsError(message.removeprefix("argument ")) from None


def _parser(*, is_follower: bool) -> _Parser:
    # Without allow_abbrev=False, --api-keys would mean --api-keys-file.
    parser = _Parser(
        prog="twowire engine" if is_follower else "twowire serve",
        usage=f"twowire {'engine' if is_follower else 'serve'} [options]",
        description=_DESCRIPTION_OF_FOLLOWER if is_follower else _DESCRIPTION,
        epilog=None if is_follower else _without_flags(),
        formatter_class=_HelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    for title, options in _by_title().items():
        if is_follower and title not in _OF_FOLLOWERS:
            continue
        section = parser.add_argument_group(title)
        for option in options:
            if option.name not in NO_FLAG and (is_follower or option.name not in ONLY_OF_FOLLOWERS):
                section.add_argument(flag_name(option.name), **_argument(option))
    parser.add_argument_group("Help").add_argument("-h", "--help", action="help", help="Print this text.")
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Keep the line break before a default; argparse's own RawTextHelpFormatter overrides this method, too."""
        return [line for part in text.splitlines() for line in super(_HelpFormatter, self)._split_lines(part, width)]


def _argument(option: NamedOption) -> dict[str, Any]:
    """The arguments of argparse's `add_argument`. Values stay texts."""
    text = f"{option.spec.help}\n(default: {default_text(option)}, env: {variable_name(option.name)})"
    argument: dict[str, Any] = {"dest": option.name, "help": text.replace("%", "%%")}
    if option.kind is bool:
        return argument | {"action": argparse.BooleanOptionalAction}
    argument["metavar"] = option.spec.metavar or _metavar(option)
    if option.kind is tuple:
        argument |= {"nargs": "+", "action": "extend"}
    return argument


def _metavar(option: NamedOption) -> str:
    if option.kind is Literal:
        return "{" + ",".join(get_args(option.type)) + "}"
    unit = next((unit for suffix, unit in UNITS.items() if option.name.endswith(suffix)), None)
    return unit or {int: "N", Path: "FILE"}.get(option.kind, "VALUE")


def default_text(option: NamedOption) -> str:
    """An option's default for people to read."""
    if option.spec.shown:
        return option.spec.shown
    match option.default:
        case bool(switch):
            return str(switch).lower()
        case tuple(names):
            return ",".join(names)
        case float(number):
            return f"{number:g}"
        case other:
            return str(other)


def _by_title() -> dict[str, list[NamedOption]]:
    titles: dict[str, list[NamedOption]] = {}
    for option in OPTIONS.values():
        titles.setdefault(option.title, []).append(option)
    return titles


def _without_flags() -> str:
    lines = ["Only in the environment or the file:"]
    for name in sorted(NO_FLAG):
        lines.append(f"  {variable_name(name)}")
        indent = " " * 6
        lines.append(textwrap.fill(OPTIONS[name].spec.help, 100, initial_indent=indent, subsequent_indent=indent))
    return "\n".join(lines)


def _row(option: NamedOption) -> tuple[str, ...]:
    name = option.name
    flag = f"`{flag_name(name)}`"
    if name in NO_FLAG:
        flag = "none"
    elif option.kind is bool:
        flag += f" `--no-{key_name(name)}`"
    key = "none" if name == "config" else f"`{key_name(name)}`"
    default = default_text(option) if option.spec.shown else f"`{default_text(option)}`"
    cells = (key, flag, f"`{variable_name(name)}`", default, option.spec.help)
    return tuple(cell.replace("|", "\\|") for cell in cells)


def _unknown_argument(argument: str, *, is_follower: bool) -> str:
    name = argument.partition("=")[0]  # What follows may be a secret.
    if not name.startswith("-"):
        return f"unexpected argument {name!r}"
    if (field := name.removeprefix("--").replace("-", "_")) in NO_FLAG:
        return (
            f"{name}: not an option, because other users of this machine can read its command lines; "
            f"use {variable_name(field)}{f' or {flag_name(file)}' if (file := f'{field}_file') in OPTIONS else ''}"
        )
    if field in RENAMED:
        return f"{name}: renamed to {flag_name(RENAMED[field])}"
    if field in REMOVED:
        return f"{name}: {REMOVED[field]}"
    if field.removeprefix("no_") in OPTIONS:
        command, use = ("serve", "a follower has no use for it") if is_follower else ("engine", "for followers")
        return f"{name}: an option of `twowire {command}`; {use}"
    known = [flag_name(field) for field in OPTIONS if field not in NO_FLAG]
    return f"{name}: unknown option{did_you_mean(name, known)}"
