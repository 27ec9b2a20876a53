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
        self._last: int | None = None
        """The last call, whose arguments may go on."""
        self._aside: list[Part] = []
        """What stands behind the last call, which comes when that is known to be complete."""
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
        return parts + self._closed(is_cut=is_cut) + self._spacing.rest()

    def _parsed(self, *, finished: bool) -> list[Part]:
        text, self._held = self._held, ""
        if self._has_failed:
            return self._spacing.content(text)
        try:
            message = self._parser.parse_delta(text, [], self._request, self._prompt_ids, finished=finished)
        except Exception:
            log.warning("parser_failed", exc_info=True)
            self._has_failed = True
            return self._closed(is_cut=True) + self._spacing.content(text)
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
        if self._last is not None:
            self._aside, parts = self._aside + parts, []
        for call in sorted(message.tool_calls or (), key=lambda call: call.index):
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
            parts += self._closed()
            self._spacing.drop()
            self._call_chars = 0
            self._last = self._names[call.index] = len(self._names)
            own_id = call.id if call.id and call.id.startswith("functions.") else None
            parts.append(CallStart(self._names[call.index], function.name, own_id))
        number = self._names[call.index]
        if function is not None and function.arguments:
            self._with_arguments.add(number)
            parts.append(CallArguments(number, function.arguments))
        return parts

    def _closed(self, *, is_cut: bool = False) -> list[Part]:
        """What completes the last call, and what stands behind it. No arguments are an empty object."""
        number, aside = self._last, self._aside
        self._last, self._aside = None, []
        is_empty = number is not None and number not in self._with_arguments and not is_cut
        return [CallArguments(number, "{}"), *aside] if is_empty and number is not None else aside


def vllm_tools(tools: Tools) -> list[Any]:
    """The tools as vLLM's parsers want them."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionToolsParam

    return [
        ChatCompletionToolsParam.model_validate(
            {"type": "function", "function": {"name": tool.name, "parameters": tool.parameters}}
        )
        for tool in tools.tools
    ]
