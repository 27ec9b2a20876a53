"""Scripted answers of the counting engine: a request says what the model is to answer, as raw text.

A test puts a `Dialogue` into any message of a request (system, user, any API, either wire, any client):

    weather = Dialogue(
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
        "It rains in Rome.",
    )
    messages = [{"role": "user", "content": f"How is the weather? {weather}"}]

The engine answers with the first text, and, when the history has one answer, with the second, and so on; nothing is
kept in the server, so tests may share it. The text goes through the server's real parsers, as a model's would: what
`tools`, `tool_choice`, `reasoning_effort` … of the request mean is decided by `engine.vllm.formats.output_format`. Only
the grammar is missing: where the request forces a form, the script must have it. `stop` and `max_tokens` hold.

- `calls`, `thoughts`: the model's formats, by the names of --tool-call-parser and --reasoning-parser.
- `cut`: how the text comes. `tokens`: a token of the guide's a step. `characters`. `whole`: in one step. A number:
  tokens merged at random, by this seed.
- `thinks_by_default`: the model thinks unless it is asked not to; otherwise only if it is asked to.
- `opened`: the prompt has opened the thoughts, as some chat templates do: the text begins within them.
- `hangs_after`, `fails_after`: after so many tokens, it waits until it is cancelled, or the engine dies.
- A turn that is `THE_REQUEST` is answered with what the engine was asked, as JSON: messages, tools, choice, thinks,
  effort, max_thoughts, schema (see `scripted.asked`).
- A turn that is a list has a text for each choice (`n`).
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

THE_REQUEST = "\0the request"

_MARK = re.compile(r"\[\[dialogue:([A-Za-z0-9_-]+=*)\]\]")


class Dialogue:
    """What a model says, turn by turn; see the module. As a text, it is what a message must contain."""

    def __init__(
        self,
        *turns: str | list[str],
        calls: str = "hermes",
        thoughts: str = "qwen3",
        cut: str | int = "tokens",
        thinks_by_default: bool = False,
        opened: bool = False,
        hangs_after: int | None = None,
        fails_after: int | None = None,
    ) -> None:
        self.turns = turns
        self.calls = calls
        self.thoughts = thoughts
        self.cut = cut
        self.thinks_by_default = thinks_by_default
        self.opened = opened
        self.hangs_after = hangs_after
        self.fails_after = fails_after

    def __str__(self) -> str:
        # In a form that clients leave unchanged, whatever they quote, escape or wrap.
        return f"[[dialogue:{base64.urlsafe_b64encode(json.dumps(vars(self)).encode()).decode()}]]"


def dialogue_in(messages: list[dict[str, Any]]) -> Dialogue | None:
    """The last dialogue that the messages contain."""
    found = None
    for message in messages:
        for mark in _MARK.finditer(str(message["content"])):
            fields = json.loads(base64.urlsafe_b64decode(mark[1] + "=="))  # JavaScript leaves out the padding
            found = Dialogue(*fields.pop("turns"), **fields)
    return found
