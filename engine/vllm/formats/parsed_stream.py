"""A stream of the engine whose text is parsed: content, reasoning and tool calls in place of plain text."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.api import EngineStream, FastPath
from engine.parsing.parts import CallArguments, CallStart, Content, Part, Reasoning, TextParser
from protocol.output import Delta, FinishReason, Report, ToolCallArguments, ToolCallStart


@dataclass(frozen=True, slots=True)
class Parsing:
    """How the answers of one request are parsed. `new` makes the parser of one choice."""

    new: Callable[[], TextParser]
    is_named: bool = False
    """The client has named the tool: then a call ends as any answer does (`stop`)."""
    custom_tools: frozenset[str] = frozenset()
    """Names of tools whose one argument, `input`, is all that is given of a call, and when it is complete."""


class ParsedStream:
    """Reads a stream, and gives what its texts mean. One parser for each choice."""

    def __init__(self, stream: EngineStream, parsing: Parsing) -> None:
        self._stream = stream
        self._parsing = parsing
        self._choices: defaultdict[int, _Choice] = defaultdict(lambda: _Choice(parsing))

    @property
    def cached_tokens(self) -> int:
        return self._stream.cached_tokens

    @property
    def scheduled_at(self) -> float | None:
        return self._stream.scheduled_at

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        deltas = await self._stream.next(self._gated(fast_path) if fast_path is not None else None)
        if deltas is None:
            return None
        parsed: list[Delta] = []
        for delta in deltas:
            parsed += self._choices[delta.index].parsed(delta)
        return parsed

    def _gated(self, fast_path: FastPath) -> FastPath | None:
        """The fast path for text of the first choice that is plain content now."""
        # It holds as long as the path: the parser is fed only behind it.
        check = self._choices[0].parser.plain_check()
        if check is None:
            return None

        def gated(text: str, tokens: int) -> bool:
            return text != "" and check(text) and not text[-1].isspace() and fast_path(text, tokens)

        return gated

    def wake(self) -> None:
        self._stream.wake()

    async def cancel(self) -> None:
        await self._stream.cancel()

    async def close(self) -> None:
        await self._stream.close()


class _Choice:
    """One choice: its parser, and what is known of its calls."""

    def __init__(self, parsing: Parsing) -> None:
        self.parser = parsing.new()
        self._parsing = parsing
        self._tokens = 0
        """Tokens of text that is held back or dropped; the next delta counts them."""
        self._reports: list[Report] = []
        """Of the same tokens."""
        self._calls = 0
        self._custom: int | None = None
        """The call of a custom tool that is open, whose arguments are held."""
        self._custom_text: list[str] = []

    def parsed(self, delta: Delta) -> list[Delta]:
        self._tokens += delta.tokens
        if delta.report is not None:
            if delta.report.prompt is not None:
                return [delta]
            self._reports.append(delta.report)
        parts = self.parser.feed(delta.text)
        reason = delta.finish_reason
        if reason is not None:
            parts += self.parser.finish(is_cut=reason == "length")
        deltas = [one for part in parts for one in self._deltas(delta.index, part)]
        if reason is not None:
            deltas += self._custom_input(delta.index)
            stop_string = delta.stop_string
            reason = self._reason(reason, stopped_by_string=stop_string is not None)
            deltas.append(Delta(delta.index, "", 0, reason, stop_string=stop_string))
        if deltas:
            deltas[0].tokens, self._tokens = self._tokens, 0
            if self._reports:
                ids = [token_id for report in self._reports for token_id in report.token_ids]
                deltas[0].report = replace(self._reports[-1], token_ids=ids)
                self._reports.clear()
        if delta.logprobs is not None:
            # They belong to the content alone.
            for one in deltas:
                if one.part is None:
                    one.logprobs = delta.logprobs
                    break
        return deltas

    def _deltas(self, index: int, part: Part) -> list[Delta]:
        match part:
            case Content():
                # What is behind a call says that its arguments are complete.
                return [*self._custom_input(index), Delta(index, part.text, 0)]
            case Reasoning():
                return [*self._custom_input(index), Delta(index, part.text, 0, part="reasoning")]
            case CallStart():
                held = self._custom_input(index)
                self._calls += 1
                if part.name in self._parsing.custom_tools:
                    self._custom, self._custom_text = part.call, []
                start = ToolCallStart(part.call, part.id or new_call_id(), part.name)
                return [*held, Delta(index, "", 0, part=start)]
            case CallArguments() if part.call == self._custom:
                self._custom_text.append(part.text)
                return []
            case CallArguments():
                return [Delta(index, part.text, 0, part=ToolCallArguments(part.call))]

    def _custom_input(self, index: int) -> list[Delta]:
        """The input of the custom tool whose call is open. If its arguments are cut, they are given as they are."""
        if self._custom is None:
            return []
        call, text = self._custom, "".join(self._custom_text)
        self._custom = None
        try:
            text = str(json.loads(text)["input"])
        except (ValueError, KeyError, TypeError):
            pass
        return [Delta(index, text, 0, part=ToolCallArguments(call))]

    def _reason(self, reason: FinishReason, *, stopped_by_string: bool) -> FinishReason:
        """OpenAI's rule: `tool_calls` where the model has called by its own choice, and has come to its end."""
        if reason != "stop" or not self._calls or self._parsing.is_named or stopped_by_string:
            return reason
        return "tool_calls"


def new_call_id() -> str:
    """An id in OpenAI's form."""
    return f"call_{uuid.uuid4().hex[:24]}"
