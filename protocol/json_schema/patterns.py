"""Regular expressions in a schema: which are refused, and how those of ECMA 262 are written for the grammar engine."""

from __future__ import annotations

import re

from protocol.json_schema import bounds
from protocol.json_schema.bounds import Sums, wrong
from protocol.validation.request import shown

# A class that is not closed is one token to the end, so that the end is looked for once. The group is atomic, because
# possessive ones are wrong in Python before 3.11.5.
_TOKEN = re.compile(r"\\.|\[\^?\]?(?>(?:\\.|[^\]\\])*)(?:\]|\\?\Z)|\{(\d{1,9})(?:(,)(\d{0,9}))?\}|.", re.DOTALL)
_UNSUPPORTED = re.compile(
    r"(?P<lookahead>\(\?[=!])|(?P<lookbehind>\(\?<[=!])|(?P<boundary>\\[bB])|(?P<backreference>\\[1-9]|\\k<|\(\?P=)"
)
_NAMES = {
    "lookahead": "lookaheads",
    "lookbehind": "lookbehinds",
    "boundary": "word boundaries",
    "backreference": "backreferences",
}
# Rust reads these as nested classes and as set operations, ECMA 262 as the characters themselves.
_RUST_CLASS = re.compile(r"\\.|\[|&&|--|~~", re.DOTALL)

_FIRST_WANTS_OTHERS = re.compile(r"\^\(\?!\^?\[([^\]\[\\^]+)\]\*\$\)(.*)", re.DOTALL)

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = f"^(?:[0-9]{{4}}-(?:0[13-9]|1[0-2])|[0-9]{{4}}-02-(?:[01][0-9]|2[0-8])|{_LEAP_YEAR}-02-29)"
STRICTER_FORMATS = {
    "date": _DATE,
    "date-time": f"{_DATE}.*[tT][0-9]{{2}}:[0-9]{{2}}:[0-5]",
    "time": "^[0-9]{2}:[0-9]{2}:[0-5]",
}
"""Patterns that a value of these formats matches, too: the grammar engine knows no leap years, and lets the leap second
60 stand in every minute, which most parsers refuse."""


KEY_FORMATS = {
    "date": "^(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    f"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)$",
    "uuid": "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
"""Whole patterns for formats that names of properties may have."""


def parts(pattern: str) -> tuple[str, ...]:
    """Patterns that together say what `pattern` says, without the lookahead of pydantic's Decimal.

    `^(?!^[-+.]*$)` there is a way to say that some letter is not one of `-+.`.
    """
    if found := _FIRST_WANTS_OTHERS.fullmatch(pattern):
        return f"[^{found[1]}]", f"^{found[2]}"
    return (pattern,)


def nested_repeats(pattern: str) -> int:
    """The largest product of counted repeats that stand inside each other: 6 for `(a{2}b){3}`, 1 where none is.

    A repeat without an upper bound counts by its lower one; `*`, `+` and `?` do not count.
    """
    groups = [1]
    last = 1
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if text == "(":
            groups.append(1)
            last = 1
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] = max(groups[-1], last)
        elif token.group(1) is not None:
            last *= max(int(token.group(3) or token.group(1)), 1)
            groups[-1] = max(groups[-1], last)
        elif text not in "*+?":
            last = 1
    return max(groups)


def checked_pattern(pattern: object, at: str, sums: Sums) -> str:
    """`pattern` for the grammar engine, which reads Rust's dialect.

    Raises for one that is too long, repeats too much, or asks for what the engine's expressions cannot do.
    """
    if not isinstance(pattern, str):
        raise wrong(f"has a pattern that must be a string, got {shown(pattern)}", at)
    if len(pattern) > bounds.MAX_PATTERN_CHARS:
        limit = f"at most {bounds.MAX_PATTERN_CHARS} characters, got {len(pattern)}"
        raise wrong(f"has a pattern that must have {limit}", at)
    if (repeats := nested_repeats(pattern)) > bounds.MAX_NESTED_REPEATS:
        limit = f"at most {bounds.MAX_NESTED_REPEATS}, got {repeats}"
        raise wrong(f"has a pattern whose nested repeats must multiply to {limit}", at)
    sums.add("characters of patterns", len(pattern), at)
    sums.add("repeats in patterns", repeats, at)
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        start = pattern[token.start() : token.start() + 4]
        if not text.startswith("[") and (found := _UNSUPPORTED.match(start)):
            assert found.lastgroup is not None
            raise wrong(f"has a pattern with {_NAMES[found.lastgroup]}, which cannot be followed", at)
    return _TOKEN.sub(lambda token: _for_rust(token.group()), pattern)


def _for_rust(token: str) -> str:
    if len(token) < 3 or token[0] != "[" or token[-1] != "]":
        return token

    def escaped(found: re.Match[str]) -> str:
        text = found.group()
        return text if text[0] == "\\" else text[:-1] + "\\" + text[-1]

    return "[" + _RUST_CLASS.sub(escaped, token[1:-1]) + "]"


def other_than(names: frozenset[str], at: str) -> str:
    """An expression that matches every string but `names`."""
    if sum(map(len, names)) > bounds.MAX_NAMES_APART or any(len(name) > 100 for name in names):
        limit = f"at most {bounds.MAX_NAMES_APART} characters together and 100 each"
        raise wrong(f"has additionalProperties beside properties whose names must have {limit}", at)
    return f"^{_none_of(sorted(names))}$"


def _none_of(names: list[str]) -> str:
    """The tree of the names' letters: what leaves it, or ends before a name does, is none of them."""
    by_first: dict[str, list[str]] = {}
    for name in names:
        if name:
            by_first.setdefault(name[0], []).append(name[1:])
    parts = [] if "" in names else [""]
    if not by_first:
        return r"(?:[\s\S]+)"
    letters = "".join(_class_member(letter) for letter in by_first)
    parts.append(rf"[^{letters}][\s\S]*")
    parts.extend(re.escape(letter) + _none_of(rest) for letter, rest in by_first.items())
    return f"(?:{'|'.join(parts)})"


def _class_member(letter: str) -> str:
    return letter if letter.isalnum() or ord(letter) > 127 or ord(letter) < 32 else "\\" + letter
