"""Grammars, in llguidance's Lark, for answers that must call tools, and for what stands behind thoughts.

A tag that is one token of the tokenizer's added vocabulary is written by its id: text cannot contain it, so that where
it begins is never in doubt. Any other tag is found in the text, as early as possible (`[lazy]`).
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.grammar.constraint import alternatives, schema_text
from engine.parsing.calls.shape import NAME, NUMBER, CallShape
from engine.parsing.tagged import Tags
from protocol.generation import ANY_OBJECT, TextOutput, Tool, Tools


class GrammarWriter:
    """Writes grammars for one answer. `token_ids`: the model's added tokens, by their text.

    `thinks`: the answer may begin with thoughts. `is_thinking`: the prompt has begun them. `max_thoughts`: how many
    tokens they may have, where `can_limit`. `shape`: how calls are written; needed for what has `calls` in its name.
    """

    def __init__(
        self,
        tags: Tags,
        token_ids: Mapping[str, int],
        *,
        thinks: bool,
        is_thinking: bool,
        max_thoughts: int | None = None,
        shape: CallShape | None = None,
    ) -> None:
        self._tags = tags
        self._token_ids = token_ids
        self._thoughts = "thoughts_end " if is_thinking else "thoughts? " if thinks else ""
        self._max_thoughts = max_thoughts
        self._shape = shape

    def text(self) -> str:
        """Any answer behind thoughts, whose length is limited. They do not begin anew."""
        opening = self._token_ids[self._tags.think[0]]
        return self._written("rest?", [f"rest: <[^{opening}]>+"])

    def calls(self, tools: Tools) -> str:
        """At least one call of the callable tools; if they are not parallel, exactly one."""
        return self._written("ws calls ws", self._call_rules(tools))

    def calls_or_text(self, tools: Tools) -> str:
        """Text and calls of the callable tools, whose arguments satisfy their schemas.

        If they are not parallel, the answer ends behind a call.
        """
        shape, rules = self._known_shape, self._call_rules(tools)
        if shape.is_bare:
            # A call is the beginning of an answer, so that text begins otherwise.
            tag = shape.before[0]
            without = "" if tag in self._token_ids else f" & ~/(?s:.*){_escaped(tag)}(?s:.*)/"
            return self._written("(calls ws | PLAIN?)", [*rules, f"PLAIN: /\\s*[^\\s{{](?s:.*)/{without}"])
        first = shape.before[0] if shape.section is None else shape.section[0]
        until = f"until_call{self._lazy(first)}: TEXT? {self._literal(first)}"
        answer = "(until_call begun)* TEXT?" if tools.is_parallel else "(until_call begun ws | TEXT?)"
        return self._written(answer, [until, *rules])

    def calls_or_json(self, tools: Tools, schema: Mapping[str, Any]) -> str:
        """Either calls of the callable tools, or JSON that satisfies `schema`."""
        return self._written("ws (calls ws | answer)", [*self._call_rules(tools), f"answer: {_json(schema)}"])

    def json(self, schema: Mapping[str, Any]) -> str:
        """JSON that satisfies `schema`."""
        return self._written("ws answer", [f"answer: {_json(schema)}"])

    def form(self, wanted: TextOutput) -> str:
        """One of several texts, one that an expression matches, or one with structures between tags."""
        if wanted.kind == "structural_tag":
            return self._structures(**json.loads(wanted.text))
        if wanted.kind == "choice":
            return self._written("ws answer", [f"answer: {alternatives(json.loads(wanted.text))}"])
        return self._written("ws ANSWER", [f"ANSWER: /{_between_slashes(wanted.text)}/"])

    def _structures(self, triggers: list[str], structures: list[dict[str, Any]]) -> str:
        """Text in which each trigger begins one of `structures`, each with a `begin`, a `schema` and an `end`."""
        rules, used = [], dict.fromkeys(triggers, "")
        for number, one in enumerate(structures):
            trigger = next(trigger for trigger in triggers if one["begin"].startswith(trigger))
            rest = one["begin"][len(trigger) :]
            pieces = [self._literal(rest)] if rest else []
            pieces.append(f"json_{number}")
            pieces += [self._literal(one["end"])] if one["end"] else []
            rules += [f"json_{number}: {_json(one['schema'])}", f"structure_{number}: {' '.join(pieces)}"]
            used[trigger] += f" | structure_{number}"
        names = []
        for number, (trigger, found) in enumerate(used.items()):
            if found:
                names.append(f"tag_{number}")
                rules.append(f"until_{number}{self._lazy(trigger)}: TEXT? {self._literal(trigger)}")
                rules.append(f"tag_{number}: until_{number} ({found[3:]})")
        return self._written(f"({' | '.join(names)})* TEXT?", rules)

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

    @property
    def _known_shape(self) -> CallShape:
        assert self._shape is not None
        return self._shape

    def _written(self, answer: str, rules: Iterable[str]) -> str:
        """The grammar of `answer`, behind thoughts if there may be any."""
        lines = [f"start: {self._thoughts}{answer}", *rules, "ws: /\\s{0,8}/", "TEXT: /(?s:.+)/"]
        if self._thoughts:
            opening, closing = self._tags.think
            lines.append(f"thoughts: {self._literal(opening)} thoughts_end")
            limit = self._max_thoughts
            if limit is None:
                lines.append(f"thoughts_end{self._lazy(closing)}: TEXT? {self._literal(closing)}")
            elif limit == 0:
                lines.append(f"thoughts_end: {self._literal(closing)}")
            else:
                lines.append(f"thoughts_end: within_limit? {self._literal(closing)}")
                lines.append(f"within_limit[max_tokens={limit}]: TEXT")
        return "\n".join(lines) + "\n"

    def _call_rules(self, tools: Tools) -> list[str]:
        """Rules for `calls`, all of an answer, and `begun`: what follows the tag that opens their section, or one."""
        shape = self._known_shape
        names = [f"call_{number}" for number, _ in enumerate(tools.callable)]
        rules = [f"after_tag: ({' | '.join(names)}){self._pieces(shape.after)}"]
        opening = self._literal(shape.before[0])
        between = "ws" if shape.between is None else json.dumps(shape.between)
        one = "after_tag" if shape.is_bare else "call"
        further = f" ({between} {one})*" if tools.is_parallel else ""
        if shape.section is not None:
            first, last = map(self._literal, shape.section)
            rules += [f"begun: call{further} ws {last}", f"calls: {first} begun"]
        else:
            rules += ["begun: after_tag", f"calls: {opening}{'?' if shape.is_bare else ''} after_tag{further}"]
        if not shape.is_bare:
            rules.append(f"call: {opening} after_tag")
        for number, tool in enumerate(tools.callable):
            before = self._pieces(piece.replace(NAME, tool.name) for piece in shape.before[1:])
            rules += [f"call_{number}:{before} arguments_{number}", f"arguments_{number}: {_json(_arguments(tool))}"]
        return rules

    def _pieces(self, pieces: Iterable[str]) -> str:
        return "".join(" /[0-9]{1,3}/" if piece == NUMBER else f" {self._literal(piece)}" for piece in pieces)

    def _lazy(self, tag: str) -> str:
        return "" if tag in self._token_ids else "[lazy]"

    def _literal(self, tag: str) -> str:
        token_id = self._token_ids.get(tag)
        return json.dumps(tag, ensure_ascii=False) if token_id is None else f"<[{token_id}]>"


def can_limit(tags: Tags, token_ids: Mapping[str, int]) -> bool:
    """Whether a grammar can count the tokens of thoughts: their tags must be tokens."""
    return all(tag in token_ids for tag in tags.think)


def _arguments(tool: Tool) -> Mapping[str, Any]:
    return ANY_OBJECT if tool.followed is None else tool.followed


def _json(schema: Mapping[str, Any]) -> str:
    return f"%json {schema_text(schema)}"


_OF_EXPRESSION = re.compile(r"\\.|/|\n|\r", re.DOTALL)


def _between_slashes(expression: str) -> str:
    """A regular expression as Lark writes it: in one line, between slashes."""
    line_ends = {"/": "\\/", "\n": "\\n", "\r": "\\r", "\\\n": "\\n", "\\\r": "\\r"}
    return _OF_EXPRESSION.sub(lambda found: line_ends.get(found[0], found[0]), expression)


def _escaped(tag: str) -> str:
    """For an expression between slashes."""
    return "".join(f"\\{character}" if character in "|/.()[]{}*+?\\^$" else character for character in tag)
