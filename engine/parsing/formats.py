"""The formats of tool calls that this server parses, by vLLM's names."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.parsing.calls import shape as call_shape
from engine.parsing.calls.call_object import CallObject
from engine.parsing.calls.headed_call import HeadedCall, Header, Named, plain_name
from engine.parsing.calls.json_call_list import JsonCallList
from engine.parsing.calls.marked_call import ArgumentHeader, MarkedCall, Markup, Types
from engine.parsing.calls.python_call_list import PythonCallList
from engine.parsing.calls.reader import CallReader, NotACallError
from engine.parsing.calls.shape import CallShape
from engine.parsing.parts import Part
from engine.parsing.tagged import Tags

THINK = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class CallFormat:
    """Its tags, and what reads a call: `new_call(types, number)`; `types` is what the tools' schemas allow."""

    call: tuple[str, str]
    new_call: Callable[[Types, int], CallReader]
    sections: tuple[str, ...] = ()
    bare: str = ""
    separator: str = ""
    shape: CallShape | None = None
    """How a grammar writes a call; None where arguments are not JSON."""

    def tags(self, think: tuple[str, str] = THINK) -> Tags:
        """The tags, with those of thoughts."""
        return Tags(think, self.call, self.sections, self.bare, self.separator)


def _json_object(opening: str, closing: str) -> CallFormat:
    return CallFormat(
        (opening, closing), lambda _, number: CallObject(number), shape=call_shape.tagged_object(opening, closing)
    )


def _headed(call: tuple[str, str], header: Header, shape: CallShape, *sections: str) -> CallFormat:
    return CallFormat(call, lambda _, number: HeadedCall(number, header), sections, shape=shape)


def _marked(call: tuple[str, str], markup: Markup, *sections: str) -> CallFormat:
    return CallFormat(call, lambda types, number: MarkedCall(number, markup, types), sections)


# -- the names of calls ------------------------------------------------------------------------------------------------


def _kimi_name(header: str) -> Named:
    """`functions.weather:0`, which is also the id."""
    call_id = header.strip()
    name, _, number = call_id.removeprefix("functions.").rpartition(":")
    return (plain_name(name)[0], call_id) if number.isdecimal() else plain_name(call_id)


_DEEPSEEK_SEPARATOR = "<｜tool▁sep｜>"


def _deepseek_name(header: str) -> Named:
    """`weather<｜tool▁sep｜>` of V3.1, or `function<｜tool▁sep｜>weather` and a line of backticks of V3 and R1."""
    first, separator, second = header.partition(_DEEPSEEK_SEPARATOR)
    second = second.strip().removesuffix("```json")
    if not separator or (second and first.strip() != "function"):
        raise NotACallError
    return plain_name(second or first)


def _mistral_name(header: str) -> Named:
    """`weather`, perhaps with an id. Mistral's templates refuse ids of another form than these."""
    name, _, call_id = header.partition("[CALL_ID]")
    return plain_name(name)[0], call_id.strip() or mistral_id()


def mistral_id() -> str:
    """Nine letters and digits."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))


class MistralCalls:
    """Calls behind `[TOOL_CALLS]`: one with its name in front, or a list of objects, as older models write them."""

    def __init__(self, number: int) -> None:
        self.is_done = False
        self.is_announced = False
        self._number = number
        self._text = ""
        self._reader: CallReader | None = None

    @property
    def rest(self) -> str:
        return self._text if self._reader is None else self._reader.rest

    def feed(self, text: str) -> None:
        if self._reader is None:
            self._text = text = (self._text + text).lstrip()
            if not text:
                return
            is_list = text[0] == "["
            self._reader = JsonCallList(self._number) if is_list else HeadedCall(self._number, _MISTRAL)
        self._reader.feed(text)
        self.is_done = self._reader.is_done

    def take(self) -> list[Part]:
        parts = self._reader.take() if self._reader is not None else []
        self.is_announced = self._reader is not None and self._reader.is_announced
        return parts

    def finish(self) -> list[Part]:
        return self._reader.finish() if self._reader is not None else []


# -- arguments between tags --------------------------------------------------------------------------------------------


def _bare_header(header: str) -> ArgumentHeader:
    return ArgumentHeader(header.strip().strip("\"'"))


def _glm_header(header: str) -> ArgumentHeader | None:
    name, _, rest = header.partition("</arg_key>")
    return None if rest.strip() else ArgumentHeader(name.strip())


_ATTRIBUTES = re.compile(r'\s*name\s*=\s*"([^"]*)"(?:\s+string\s*=\s*"(true|false)")?\s*')


def _attributes_header(header: str) -> ArgumentHeader | None:
    found = _ATTRIBUTES.fullmatch(header)
    return found and ArgumentHeader(found[1], None if found[2] is None else found[2] == "true")


_MISTRAL = Header(("[ARGS]", "{"), kept=("{",), named=_mistral_name)
_DSML = "｜DSML｜"


def _xml(prefix: str = "") -> CallFormat:
    tags = (f"<{prefix}tool_call>", f"</{prefix}tool_call>")
    closing = "</function>"
    markup = Markup(
        ">", ("<parameter=", ">", "</parameter>"), closing, True, _bare_header, (tags[1], tags[0], "<function=")
    )
    return _marked(("<function=", closing), markup, *tags)


def _invokes(dsml: str, header: Callable[[str], ArgumentHeader | None], *sections: str) -> CallFormat:
    opening, closing = f"<{dsml}invoke name=", f"</{dsml}invoke>"
    argument = (f"<{dsml}parameter{' name=' if not dsml else ''}", ">", f"</{dsml}parameter>")
    ends = (*reversed(sections), opening)
    return _marked((opening, closing), Markup(">", argument, closing, False, header, ends), *sections)


def _deepseek(closing: str, shape: CallShape) -> CallFormat:
    sections = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁end｜>")
    header = Header(("{",), kept=("{",), named=_deepseek_name)
    return _headed(("<｜tool▁call▁begin｜>", closing), header, shape, *sections)


_HERMES = _json_object("<tool_call>", "</tool_call>")
_QWEN = _xml()
_GLM = _marked(
    ("<tool_call>", "</tool_call>"),
    Markup(None, ("<arg_key>", "<arg_value>", "</arg_value>"), "</tool_call>", False, _glm_header, ("<tool_call>",)),
)
_KIMI = _headed(
    ("<|tool_call_begin|>", "<|tool_call_end|>"),
    Header(("<|tool_call_argument_begin|>",), closing="<|tool_call_end|>", named=_kimi_name),
    call_shape.KIMI,
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
)
_LLAMA = CallFormat(
    ("<|python_tag|>", ""),
    lambda _, number: CallObject(number, is_bare=True),
    bare="{",
    separator=";",
    shape=call_shape.LLAMA,
)

CALL_FORMATS: Mapping[str, CallFormat] = {
    "hermes": _HERMES,
    "qwen3_json": _HERMES,
    "granite4": _HERMES,
    "longcat": _json_object("<longcat_tool_call>", "</longcat_tool_call>"),
    "qwen3_coder": _QWEN,
    "qwen3_xml": _QWEN,
    "seed_oss": _xml("seed:"),
    "glm45": _GLM,
    "glm47": _GLM,
    "minimax_m2": _invokes("", _bare_header, "<minimax:tool_call>", "</minimax:tool_call>"),
    "deepseek_v32": _invokes(_DSML, _attributes_header, f"<{_DSML}function_calls>", f"</{_DSML}function_calls>"),
    "deepseek_v4": _invokes(_DSML, _attributes_header, f"<{_DSML}tool_calls>", f"</{_DSML}tool_calls>"),
    "deepseek_v31": _deepseek("<｜tool▁call▁end｜>", call_shape.DEEPSEEK_V31),
    "deepseek_v3": _deepseek("```<｜tool▁call▁end｜>", call_shape.DEEPSEEK_V3),
    "kimi_k2": _KIMI,
    "mistral": CallFormat(("[TOOL_CALLS]", ""), lambda _, number: MistralCalls(number), shape=call_shape.MISTRAL),
    "llama3_json": _LLAMA,
    "llama4_json": _LLAMA,
    "pythonic": CallFormat(("", ""), lambda _, number: PythonCallList(number), bare="["),
}
"""By vLLM's names."""
