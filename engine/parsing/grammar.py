"""Grammars, in llguidance's Lark, for answers that must call tools, and for JSON behind thoughts.

A tag that is one token of the tokenizer's added vocabulary is written by its id: text cannot contain it, so that where
it begins is never in doubt. Any other tag is found in the text, as early as possible (`[lazy]`).
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.grammar.constraint import schema_text
from engine.parsing.tagged import Tags
from protocol.generation import ANY_OBJECT, Tool, Tools


class GrammarWriter:
    """Writes grammars for one answer. `token_ids`: the model's added tokens, by their text.

    `thinks`: the answer may begin with thoughts. `is_thinking`: the prompt has begun them.
    """

    def __init__(self, tags: Tags, token_ids: Mapping[str, int], *, thinks: bool, is_thinking: bool) -> None:
        self._tags = tags
        self._token_ids = token_ids
        self._thoughts = "thoughts_end " if is_thinking else "thoughts? " if thinks else ""

    def calls(self, tools: Tools) -> str:
        """At least one call of the callable tools; if they are not parallel, exactly one."""
        return self._written(f"ws {_repeated(tools)} ws", self._call_rules(tools.callable))

    def calls_or_text(self, tools: Tools) -> str:
        """Text and calls of the callable tools, whose arguments satisfy their schemas."""
        opening = self._tags.call[0]
        until = f"until_call{self._lazy(opening)}: TEXT? {self._literal(opening)}"
        rules = self._call_rules(tools.callable, with_opening=False)
        repeated = "(until_call call)*" if tools.is_parallel else "(until_call call)?"
        return self._written(f"{repeated} TEXT?", [until, *rules])

    def calls_or_json(self, tools: Tools, schema: Mapping[str, Any]) -> str:
        """Either calls of the callable tools, or JSON that satisfies `schema`."""
        rules = [*self._call_rules(tools.callable), f"answer: {_json(schema)}", f"calls: {_repeated(tools)} ws"]
        return self._written("ws (calls | answer)", rules)

    def json(self, schema: Mapping[str, Any]) -> str:
        """JSON that satisfies `schema`."""
        return self._written("ws answer", [f"answer: {_json(schema)}"])

    def call_list(self, tools: Tools) -> str:
        """Calls as a JSON list of names and parameters, for formats that are not written here."""
        one = [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "parameters": _arguments(tool)},
                "required": ["name", "parameters"],
                "additionalProperties": False,
            }
            for tool in tools.callable
        ]
        schema: dict[str, Any] = {"type": "array", "minItems": 1, "items": {"anyOf": one}}
        if not tools.is_parallel:
            schema["maxItems"] = 1
        return self.json(schema)

    def _written(self, answer: str, rules: Iterable[str]) -> str:
        """The grammar of `answer`, behind thoughts if there may be any."""
        lines = [f"start: {self._thoughts}{answer}", *rules, "ws: /\\s{0,8}/", "TEXT: /(?s:.+)/"]
        if self._thoughts:
            opening, closing = self._tags.think
            lines += [
                f"thoughts: {self._literal(opening)} thoughts_end",
                f"thoughts_end{self._lazy(closing)}: TEXT? {self._literal(closing)}",
            ]
        return "\n".join(lines) + "\n"

    def _call_rules(self, tools: Iterable[Tool], *, with_opening: bool = True) -> list[str]:
        opening, closing = self._tags.call
        rules, names = [], []
        for number, tool in enumerate(tools):
            begin = json.dumps(f'\n{{"name": "{tool.name}", "arguments": ')
            rules += [f"call_{number}: {begin} arguments_{number}", f"arguments_{number}: {_json(_arguments(tool))}"]
            names.append(f"call_{number}")
        before = f"{self._literal(opening)} " if with_opening else ""
        end = json.dumps("}\n")
        return [f"call: {before}({' | '.join(names)}) {end} {self._literal(closing)}", *rules]

    def _lazy(self, tag: str) -> str:
        return "" if tag in self._token_ids else "[lazy]"

    def _literal(self, tag: str) -> str:
        token_id = self._token_ids.get(tag)
        return json.dumps(tag) if token_id is None else f"<[{token_id}]>"


def _repeated(tools: Tools) -> str:
    return "call (ws call)*" if tools.is_parallel else "call"


def _arguments(tool: Tool) -> Mapping[str, Any]:
    return ANY_OBJECT if tool.followed is None else tool.followed


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {schema_text(schema)}"
