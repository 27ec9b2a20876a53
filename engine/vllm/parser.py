"""vLLM's parsers of tool calls and reasoning, as `engine.parsing` wants a parser. Written for vLLM 0.32.

They are handed text alone: with token ids, they lose text around stop strings. Whole answers are parsed step by step,
too, because vLLM's other way differs from it in many cases.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import structlog

from engine.parsing.parts import MAX_CALLS, CallArguments, CallStart, Part, Reasoning
from engine.parsing.spacing import Spacing
from protocol.generation import Tools

log = structlog.get_logger(__name__)

HOLD_FRACTION = 16
"""Within a call, text is handed over when it has grown by this part of the call: some parsers begin anew each time."""


class VllmTextParser:
    """Parses one answer by one of vLLM's parsers; see the module.

    Never plain: these parsers do not say what they hold back.
    """

    def __init__(self, parser: Any, tools: list[Any], prompt_ids: list[int], *, parallel: bool) -> None:
        self._parser = parser
        self._request = SimpleNamespace(
            tools=tools, tool_choice="auto", include_reasoning=True, parallel_tool_calls=parallel, messages=[]
        )
        self._prompt_ids = prompt_ids
        self._spacing = Spacing()
        self._held = ""
        self._call_chars = 0
        """Length of the text since the current call began; 0 outside of calls."""
        self._names: dict[int, int] = {}
        """Our number of each call, by the parser's."""
        self._with_arguments: set[int] = set()
        self._has_failed = False

    def plain_check(self) -> None:
        return None

    def feed(self, text: str) -> list[Part]:
        self._held += text
        if not self._held or len(self._held) * HOLD_FRACTION < self._call_chars:
            return []
        return self._parsed(finished=False)

    def finish(self, *, is_cut: bool) -> list[Part]:
        # A parser that is told that the text is finished completes what is open: not where a limit has cut it.
        parts = self._parsed(finished=not is_cut)
        if not is_cut:
            for number in sorted(set(self._names.values()) - self._with_arguments):
                parts.append(CallArguments(number, "{}"))
        return parts + self._spacing.rest()

    def _parsed(self, *, finished: bool) -> list[Part]:
        text, self._held = self._held, ""
        if self._has_failed:
            return self._spacing.content(text)
        try:
            message = self._parser.parse_delta(text, [], self._request, self._prompt_ids, finished=finished)
        except Exception:
            log.warning("parser_failed", exc_info=True)
            self._has_failed = True
            return self._spacing.content(text)
        if message is None:
            if self._call_chars:
                self._call_chars += len(text)
            return []
        parts: list[Part] = []
        if message.reasoning:
            parts.append(Reasoning(message.reasoning))
        if message.content:
            self._call_chars = 0
            parts += self._spacing.content(message.content)
        for call in message.tool_calls or ():
            parts += self._call(call)
            self._call_chars = max(self._call_chars, 1)
        if self._call_chars:
            self._call_chars += len(text)
        return parts

    def _call(self, call: Any) -> list[Part]:
        parts: list[Part] = []
        function = call.function
        if call.index not in self._names:
            if function is None or not function.name or len(self._names) >= MAX_CALLS:
                return []
            self._spacing.drop()
            self._call_chars = 0
            self._names[call.index] = len(self._names)
            own_id = call.id if call.id and call.id.startswith("functions.") else None
            parts.append(CallStart(self._names[call.index], function.name, own_id))
        number = self._names[call.index]
        if function is not None and function.arguments:
            self._with_arguments.add(number)
            parts.append(CallArguments(number, function.arguments))
        return parts


def vllm_tools(tools: Tools) -> list[Any]:
    """The tools as vLLM's parsers want them."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionToolsParam

    return [
        ChatCompletionToolsParam.model_validate(
            {"type": "function", "function": {"name": tool.name, "parameters": tool.parameters}}
        )
        for tool in tools.tools
    ]
