"""Parsers of tool calls, and of thoughts, that a file of the operator's adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.api import EngineStartError
from engine.config import GUIDE
from engine.parsing.parts import Content, Reasoning
from engine.vllm.formats.find_format import find_format
from engine.vllm.plugins import load_parsers
from protocol.generation import ChatPrompt, GenerationRequest, Sampling

PLUGIN = """
from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser


@ToolParserManager.register_module("mine")
class MyParser(Hermes2ProToolParser): ...
"""
THOUGHTS = """
from vllm.reasoning import ReasoningParserManager
from vllm.reasoning.basic_parsers import BaseThinkingReasoningParser


@ReasoningParserManager.register_module("my_thoughts")
class MyThoughts(BaseThinkingReasoningParser):
    start_token, end_token = "<tool_response>", "</tool_response>"
"""
OPTION = "--tool-parser-plugin"


def test_a_plugins_parser_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    load_parsers(str(file), OPTION)
    tokenizer: Any = AutoTokenizer.from_pretrained(GUIDE)
    assert find_format(tokenizer.chat_template, tokenizer, "mine", "none", "m").calls == "mine"


def test_the_tags_of_a_plugins_thoughts_are_read(tmp_path: Path) -> None:
    file = tmp_path / "thoughts.py"
    file.write_text(THOUGHTS)
    load_parsers(str(file), "--reasoning-parser-plugin")
    tokenizer: Any = AutoTokenizer.from_pretrained(GUIDE)
    found = find_format(tokenizer.chat_template, tokenizer, "hermes", "my_thoughts", "m")
    assert (found.thoughts, found.tags.think) == ("my_thoughts", ("<tool_response>", "</tool_response>"))
    request = GenerationRequest(ChatPrompt([]), Sampling(), thinks=True)
    parsing = found.answer(request, [0]).parsing
    assert parsing is not None
    assert parsing.new().feed("<tool_response>Hm.</tool_response>Hi") == [Reasoning("Hm."), Content("Hi")]


@pytest.mark.parametrize(("text", "reason"), [("1 / 0", "ZeroDivisionError"), (None, "is not a file")])
def test_a_plugin_that_fails_stops_the_start(text: str | None, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(EngineStartError, match=f"--tool-parser-plugin.*{reason}"):
        load_parsers(str(file), OPTION)
    load_parsers(None, OPTION)
