"""Draws cases for tool calls: the tools, a question that calls for one, the call, its result, and the answer from it.

The form of the data stands at the top of `data/tools.toml`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any

from training.dialogues.roles import TOOL_ROLES, Definition, Marks
from training.dialogues.topics import DATA, read_toml
from training.language.invented import invented
from training.language.noise import Language
from training.language.spintax import draw, filled

# So that a call's words are copied from the prompt, and not known by heart.
INVENTED_VALUE_SHARE = 0.5
PHRASE_KINDS = frozenset(
    ("topic", "phrase", "message", "task", "subject", "song", "film", "book", "dish", "restaurant", "product", "file")
)
"""The kinds of values that may be made of several words with «of» or «for» between them."""
OTHER_TOOL_SHARE = 0.55
DECIMAL_SHARE = 0.15
"""Of the numbers in an expression."""
STATED_SHARE = 0.85
"""Of the tools with a name that tells what they are for, those that are described too."""
DESCRIBED_SHARE = 0.35
DESCRIPTIONS = ("The {}", "{}", "Name of the {}", "Which {}", "the {} to use", "{} of the request")
"""Of a parameter, by one of the names that it might have had."""

NAME = -1
"""Of a tool's roles, the one that is none of its arguments'."""

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Case:
    """One question, and what a good model does."""

    question: str
    tool: str
    """Which one of the data it calls for, whatever its name is here."""
    name: str
    arguments: dict[str, Value]
    result: str
    answer: str
    marks: Marks


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as the data has it, as a request states it, and its roles."""

    data: dict[str, Any]
    definition: dict[str, Any]
    roles: Definition


class Tools:
    """Draws cases from `tools.toml`."""

    def __init__(self, invented_names: float) -> None:
        """`invented_names` is the share of tools whose name says nothing of what they do."""
        self._invented_names = invented_names
        table = read_toml(DATA / "tools.toml")
        self._tools: list[dict[str, Any]] = table["tool"]
        self.ids: list[str] = [tool["id"] for tool in self._tools]
        told = [(tool["id"], at) for tool in self._tools for at in (NAME, *range(len(tool["parameters"])))]
        self.roles = {one: number for number, one in enumerate(told, TOOL_ROLES)}
        """Of each tool's name and of its arguments."""
        self._slots: dict[str, list[str]] = table["slots"]
        self._patterns: dict[str, list[str]] = table["patterns"]
        self._numbers: dict[str, dict[str, float]] = table["numbers"]
        self._words: dict[str, list[str]] = read_toml(DATA / "words.toml")

    def offered(self, rng: random.Random) -> list[Offered]:
        """One or two tools."""
        drawn = [self._offered(tool, rng) for tool in rng.sample(self._tools, 1 + (rng.random() < OTHER_TOOL_SHARE))]
        names = {one.definition["function"]["name"] for one in drawn}
        return drawn[: len(names)]

    def described(self, rng: random.Random) -> tuple[str, str]:
        """A tool of the data, and what a request says of it."""
        offered = self._offered(rng.choice(self._tools), rng)
        function = offered.definition["function"]
        parameters = (name for name, _ in offered.roles.parameters)
        return offered.data["id"], " ".join([function["name"], function.get("description", ""), *parameters])

    def case(self, tool: Offered, language: Language, rng: random.Random) -> Case:
        """A question that calls for the tool."""
        data = tool.data
        # One invented value at most: where two strange ones meet, nobody could tell where the first ends.
        strange = rng.randrange(len(data["parameters"])) if rng.random() < INVENTED_VALUE_SHARE else None
        values = {
            str(at): self._argument(one, language, rng, is_invented=at == strange)
            for at, one in enumerate(data["parameters"])
        }
        for at, kind in enumerate(data["returns"]):
            values[f"r{at}"] = evaluated(values) if kind == "expression_value" else self._value(kind, language, rng)
        question = filled(draw(rng.choice(data[f"ask_{language}"]), rng), values)
        arguments = {name: values[str(at)] for at, (name, _) in enumerate(tool.roles.parameters)}
        return Case(
            question=question,
            tool=data["id"],
            name=tool.definition["function"]["name"],
            arguments=arguments,
            result=filled(rng.choice(data["result"]), values),
            answer=filled(draw(rng.choice(data[f"answer_{language}"]), rng), values),
            marks=Marks(
                question,
                tuple((str(arguments[name]), role) for name, role in tool.roles.parameters),
                tool.roles.name[1],
                tool.roles,
            ),
        )

    def _offered(self, tool: dict[str, Any], rng: random.Random) -> Offered:
        names = [rng.choice(parameter["name_options"]) for parameter in tool["parameters"]]
        name = rng.choice(tool["name_options"])
        is_invented = rng.random() < self._invented_names
        if is_invented:
            name = "_".join([*rng.sample(self._words["en"], rng.randint(1, 2)), name.split("_")[-1]]).lower()
        function: dict[str, Any] = {"name": re.sub(r"\W", "", name)}
        if is_invented or rng.random() < STATED_SHARE:
            function["description"] = rng.choice(tool["description_options"])
        are_described = rng.random() < DESCRIBED_SHARE
        properties = {
            name: _property(parameter, are_described, rng)
            for name, parameter in zip(names, tool["parameters"], strict=True)
        }
        function["parameters"] = {"type": "object", "properties": properties}
        if rng.random() < 0.7:
            function["parameters"]["required"] = names
        parameters = tuple((name, self.roles[tool["id"], at]) for at, name in enumerate(names))
        roles = Definition((function["name"], self.roles[tool["id"], NAME]), parameters)
        return Offered(tool, {"type": "function", "function": function}, roles)

    def _argument(
        self, parameter: dict[str, Any], language: Language, rng: random.Random, *, is_invented: bool
    ) -> Value:
        kind: str = parameter["kind"]
        if is_invented and kind in self._slots and len(self._slots[kind]) > 12:
            return invented(language, self._words, rng, may_be_phrase=kind in PHRASE_KINDS)
        return self._value(kind, language, rng)

    def _value(self, kind: str, language: Language, rng: random.Random) -> Value:
        if kind == "expression":
            return expression(rng)
        if kind in self._numbers:
            return _number(self._numbers[kind], rng)
        if language == "ko" and f"{kind}_ko" in (self._slots | self._patterns):
            kind += "_ko"
        if kind in self._patterns:
            return _from_pattern(rng.choice(self._patterns[kind]), rng)
        return rng.choice(self._slots[kind])


def _property(parameter: dict[str, Any], is_described: bool, rng: random.Random) -> dict[str, str]:
    stated = {"type": parameter["type"]}
    if is_described:
        name = rng.choice(parameter["name_options"]).replace("_", " ")
        stated["description"] = rng.choice(DESCRIPTIONS).format(name).capitalize()
    return stated


def _number(bounds: dict[str, float], rng: random.Random) -> int | float:
    decimals = int(bounds.get("decimals", 0))
    if not decimals:
        return rng.randint(int(bounds["min"]), int(bounds["max"]))
    steps = 10**decimals
    step = rng.randint(round(bounds["min"] * steps), round(bounds["max"] * steps) - 1)
    # The last digit is never 0, so that the number is written as it is said.
    number: float = (step + (step % 10 == 0)) / steps
    return number


def _from_pattern(pattern: str, rng: random.Random) -> str:
    def one(found: re.Match[str]) -> str:
        ranges = re.findall(r"(.)-(.)|(.)", found[1])
        characters = [chr(code) for low, high, _ in ranges if low for code in range(ord(low), ord(high) + 1)]
        characters += [single for _, _, single in ranges if single]
        return "".join(rng.choices(characters, k=int(found[2] or 1)))

    return re.sub(r"\[([^\]]+)\](?:\{(\d+)\})?", one, pattern)


def expression(rng: random.Random) -> str:
    """Two or three numbers with operators between, as a calculator takes it."""
    limit = rng.choice((12, 99, 999, 9999))
    numbers = [_operand(limit, rng) for _ in range(rng.choice((2, 2, 3)))]
    operators = [rng.choice("+-*+-*/") for _ in numbers[1:]]
    gap = rng.choice(("", " "))
    first, *rest = numbers
    text = first
    for at, (operator, number) in enumerate(zip(operators, rest, strict=True)):
        text += f"{gap}{operator}{gap}{number}"
        if at == 0 and len(rest) == 2 and rng.random() < 0.4:
            text = f"({text})"
    return text


def _operand(limit: int, rng: random.Random) -> str:
    number = str(rng.randint(2, limit))
    return f"{number}.{rng.randint(1, 9)}" if rng.random() < DECIMAL_SHARE else number


def evaluated(values: dict[str, Value]) -> Value:
    """The value of the expression among a call's arguments, made of digits, operators and parentheses alone."""
    text = next(value for value in values.values() if isinstance(value, str) and re.fullmatch(r"[\d.+*/() -]+", value))
    value: float = eval(text, {"__builtins__": {}})  # noqa: S307  # made above, and matched against the pattern
    return int(value) if value == int(value) else round(value, 2)
