"""Tools, requests and formats for the tests of the answers' formats."""

from __future__ import annotations

from typing import Any

from engine.vllm.formats.find_format import find_format
from engine.vllm.formats.output_format import OutputFormat
from protocol.generation import ChatPrompt, GenerationRequest, Sampling, Tool, Tools

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
NO_ARGUMENTS = {"type": "object", "properties": {}}
WEATHER = Tool("weather", "Of a city.", SCHEMA, SCHEMA)
NOW = Tool("now", None, NO_ARGUMENTS, NO_ARGUMENTS)


def format_of(tokenizer: Any, calls: str = "auto", thoughts: str = "auto", template: str | None = None) -> OutputFormat:
    return find_format(template or tokenizer.chat_template, tokenizer, calls, thoughts, "m")


def chat(tools: Tools | None = None, **more: Any) -> GenerationRequest:
    return GenerationRequest(ChatPrompt([]), Sampling(), tools=tools, **more)
