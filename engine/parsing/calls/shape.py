"""How a grammar writes a tool call whose arguments are JSON, in each format that has such calls."""

from __future__ import annotations

from dataclasses import dataclass

NAME = "NAME"
"""In a text of a shape: the tool's name."""
NUMBER = "\0number"
"""In place of a text: up to three digits. No tool can have this name."""


@dataclass(frozen=True, slots=True)
class CallShape:
    """Tags and texts around a call's arguments. The first of `before` opens the call.

    `section` stands around all calls of an answer, `between` between two of them; by default, white space may.
    `is_bare`: the opening tag may be missing, and a call is the beginning of an answer.
    """

    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    section: tuple[str, str] | None = None
    between: str | None = None
    is_bare: bool = False


def tagged_object(opening: str, closing: str) -> CallShape:
    """A JSON object between tags, as Hermes and Qwen write it."""
    return CallShape((opening, f'\n{{"name": "{NAME}", "arguments": '), ("}\n", closing))


KIMI = CallShape(
    ("<|tool_call_begin|>", f"functions.{NAME}:", NUMBER, "<|tool_call_argument_begin|>"),
    ("<|tool_call_end|>",),
    ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
)
_DEEPSEEK_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
DEEPSEEK_V31 = CallShape(("<｜tool▁call▁begin｜>", NAME, "<｜tool▁sep｜>"), ("<｜tool▁call▁end｜>",), _DEEPSEEK_SECTION)
DEEPSEEK_V3 = CallShape(
    ("<｜tool▁call▁begin｜>", "function", "<｜tool▁sep｜>", f"{NAME}\n```json\n"),
    ("\n```", "<｜tool▁call▁end｜>"),
    _DEEPSEEK_SECTION,
)
MISTRAL = CallShape(("[TOOL_CALLS]", NAME, "[ARGS]"))
"""Of newer models, whose tokenizers know `[ARGS]`."""
LLAMA = CallShape(("<|python_tag|>", f'{{"name": "{NAME}", "parameters": '), ("}",), between="; ", is_bare=True)
