"""In which form a chat's answer is shown."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.output import FinishReason


@dataclass(frozen=True, slots=True)
class ChatStyle:
    """What a request wants to see of an answer, and in which form."""

    shows_reasoning: bool = True
    is_legacy: bool = False
    """One `function_call` in place of `tool_calls`."""
    has_tools: bool = False
    """An answer may be calls alone: it does not begin with an empty content, which some clients take for its text."""
    custom_tools: frozenset[str] = frozenset()
    """Names of tools whose input is text, and no JSON."""
    beginning: str = ""
    """What the content begins with: the text that the answer continues, if it is echoed."""

    def finish_reason(self, reason: FinishReason) -> FinishReason:
        """`reason` in this form."""
        return "function_call" if self.is_legacy and reason == "tool_calls" else reason


PLAIN = ChatStyle()
