"""Grammars, in llguidance's Lark, for answers that must call tools, and for JSON behind thoughts.

A tag that is one token of the tokenizer's added vocabulary is written by its id: text cannot contain it, so that where
it begins is never in doubt. Any other tag is found in the text, as early as possible (`[lazy]`).
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from engine.grammar.constraint import SEPARATORS
from engine.parsing.tagged import Tags
from protocol.generation import Tool, Tools

_ANY = "/(?s:.*)/"


class GrammarWriter:
    """Writes grammars for one model. `token_ids`: its added tokens, by their text."""

    def __init__(self, tags: Tags, token_ids: Mapping[str, int]) -> None:
        self._tags = tags
        self._token_ids = token_ids

    def calls(self, tools: Tools, *, thinks: bool, is_thinking: bool) -> str:
        """At least one call of the callable tools; if they are not parallel, exactly one."""
        repeated = "call (ws call)*" if tools.is_parallel else "call"
        return self._written(f"{self._thoughts(thinks, is_thinking)}ws {repeated} ws", self._call_rules(tools.callable))

    def calls_or_text(self, tools: Tools, schema: Mapping[str, Any] | None, *, thinks: bool, is_thinking: bool) -> str:
        """Text and calls of the callable tools, whose arguments satisfy their schemas.

        With `schema`, either calls alone, or JSON that satisfies it.
        """
        thoughts = self._thoughts(thinks, is_thinking)
        if schema is not None:
            repeated = "call (ws call)*" if tools.is_parallel else "call"
            rules = [*self._call_rules(tools.callable), f"answer: {_json(schema)}", f"calls: {repeated} ws"]
            return self._written(f"{thoughts}ws (calls | answer)", rules)
        opening = self._tags.call[0]
        rules = self._call_rules(tools.callable, with_opening=False)
        lazy = "" if opening in self._token_ids else "[lazy]"
        until = f"until_call{lazy}: TEXT? {self._literal(opening)}"
        repeated = "(until_call call)*" if tools.is_parallel else "(until_call call)?"
        return self._written(f"{thoughts}{repeated} TEXT?", [until, *rules])

    def json(self, schema: Mapping[str, Any], *, thinks: bool, is_thinking: bool) -> str:
        """JSON that satisfies `schema`, behind thoughts."""
        return self._written(f"{self._thoughts(thinks, is_thinking)}ws answer", [f"answer: {_json(schema)}"])

    def call_list(self, tools: Tools, *, thinks: bool, is_thinking: bool) -> str:
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
        return self.json(schema, thinks=thinks, is_thinking=is_thinking)

    def _written(self, start: str, rules: Iterable[str]) -> str:
        lines = [f"start: {start}", *rules, "ws: /\\s{0,8}/", f"TEXT: {_ANY.replace('*', '+')}"]
        if "thoughts" in start:
            lines += self._thought_rules()
        return "\n".join(lines) + "\n"

    def _thoughts(self, thinks: bool, is_thinking: bool) -> str:
        return "thoughts_end " if is_thinking else "thoughts? " if thinks else ""

    def _thought_rules(self) -> list[str]:
        opening, closing = self._tags.think
        lazy = "" if closing in self._token_ids else "[lazy]"
        return [
            f"thoughts: {self._literal(opening)} thoughts_end",
            f"thoughts_end{lazy}: TEXT? {self._literal(closing)}",
        ]

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

    def _literal(self, tag: str) -> str:
        token_id = self._token_ids.get(tag)
        return json.dumps(tag) if token_id is None else f"<[{token_id}]>"


def _arguments(tool: Tool) -> dict[str, Any]:
    return {"type": "object"} if tool.followed is None else tool.followed


def _json(schema: Mapping[str, Any]) -> str:
    return "%json " + json.dumps({**schema, **SEPARATORS}, ensure_ascii=False)
