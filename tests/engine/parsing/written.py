"""Calls as models write them, in each format that this server parses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

Arguments = dict[str, Any]
Call = tuple[str, Arguments]


def text_of(value: Any) -> str:
    """An argument between tags: a string as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tagged(opening: str, closing: str) -> Callable[[Sequence[Call]], str]:
    def write(calls: Sequence[Call]) -> str:
        objects = (f'{{"name": "{name}", "arguments": {_json(arguments)}}}' for name, arguments in calls)
        return "\n".join(f"{opening}\n{one}\n{closing}" for one in objects)

    return write


def _xml(prefix: str) -> Callable[[Sequence[Call]], str]:
    def one(name: str, arguments: Arguments) -> str:
        lines = "".join(f"<parameter={key}>\n{text_of(value)}\n</parameter>\n" for key, value in arguments.items())
        return f"<{prefix}tool_call>\n<function={name}>\n{lines}</function>\n</{prefix}tool_call>"

    return lambda calls: "\n".join(one(*call) for call in calls)


def _glm(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: Arguments) -> str:
        pairs = (
            f"<arg_key>{key}</arg_key>\n<arg_value>{text_of(value)}</arg_value>\n" for key, value in arguments.items()
        )
        return f"<tool_call>{name}\n{''.join(pairs)}</tool_call>"

    return "\n".join(one(*call) for call in calls)


def _kimi(calls: Sequence[Call]) -> str:
    parts = (
        f"<|tool_call_begin|>functions.{name}:{number}<|tool_call_argument_begin|>{_json(arguments)}<|tool_call_end|>"
        for number, (name, arguments) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{''.join(parts)}<|tool_calls_section_end|>"


def _dsml(section: str) -> Callable[[Sequence[Call]], str]:
    def one(name: str, arguments: Arguments) -> str:
        lines = "".join(
            f'<｜DSML｜parameter name="{key}" string="{_json(isinstance(value, str))}">{text_of(value)}'
            "</｜DSML｜parameter>\n"
            for key, value in arguments.items()
        )
        return f'<｜DSML｜invoke name="{name}">\n{lines}</｜DSML｜invoke>\n'

    return lambda calls: f"<｜DSML｜{section}>\n{''.join(one(*call) for call in calls)}</｜DSML｜{section}>"


def _minimax(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: Arguments) -> str:
        lines = "".join(f'<parameter name="{key}">{text_of(value)}</parameter>\n' for key, value in arguments.items())
        return f'<invoke name="{name}">\n{lines}</invoke>\n'

    return f"<minimax:tool_call>\n{''.join(one(*call) for call in calls)}</minimax:tool_call>"


def _deepseek_v31(calls: Sequence[Call]) -> str:
    parts = (
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{_json(arguments)}<｜tool▁call▁end｜>" for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{''.join(parts)}<｜tool▁calls▁end｜>"


def _deepseek_v3(calls: Sequence[Call]) -> str:
    parts = (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{_json(arguments)}\n```<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return "<｜tool▁calls▁begin｜>" + "\n".join(parts) + "<｜tool▁calls▁end｜>"


def _python(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: Arguments) -> str:
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"

    return f"[{', '.join(one(*call) for call in calls)}]"


WRITERS: dict[str, Callable[[Sequence[Call]], str]] = {
    "hermes": _tagged("<tool_call>", "</tool_call>"),
    "longcat": _tagged("<longcat_tool_call>", "</longcat_tool_call>"),
    "qwen3_coder": _xml(""),
    "seed_oss": _xml("seed:"),
    "glm45": _glm,
    "kimi_k2": _kimi,
    "deepseek_v32": _dsml("function_calls"),
    "deepseek_v4": _dsml("tool_calls"),
    "deepseek_v31": _deepseek_v31,
    "deepseek_v3": _deepseek_v3,
    "minimax_m2": _minimax,
    "mistral": lambda calls: "".join(f"[TOOL_CALLS]{name}[ARGS]{_json(arguments)}" for name, arguments in calls),
    "mistral, a list": lambda calls: (
        "[TOOL_CALLS]" + _json([{"name": name, "arguments": arguments} for name, arguments in calls])
    ),
    "llama3_json": lambda calls: "; ".join(_json({"name": name, "parameters": given}) for name, given in calls),
    "pythonic": _python,
}
"""By vLLM's names."""


def parser_name(writer: str) -> str:
    """The name of a writer's format; Mistral's has two forms."""
    return writer.partition(",")[0]


BARE = frozenset({"llama3_json", "pythonic"})
"""Formats whose calls have no tags: nothing may precede them."""
