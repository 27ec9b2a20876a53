"""Tool call parsers from an operator's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.api import EngineStartError
from engine.config import GUIDE
from engine.vllm.find_format import find_format
from engine.vllm.plugins import load_tool_parsers

PLUGIN = """
from vllm.tool_parsers import ToolParserManager
from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser


@ToolParserManager.register_module("mine")
class MyParser(Hermes2ProToolParser): ...
"""


def test_a_plugins_parser_can_be_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    load_tool_parsers(str(file))
    tokenizer: Any = AutoTokenizer.from_pretrained(GUIDE)
    assert find_format(tokenizer.chat_template, tokenizer, "mine", "none", "m").calls == "mine"


@pytest.mark.parametrize(("text", "reason"), [("1 / 0", "ZeroDivisionError"), (None, "is not a file")])
def test_a_plugin_that_fails_stops_the_start(text: str | None, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(EngineStartError, match=f"--tool-parser-plugin.*{reason}"):
        load_tool_parsers(str(file))
    load_tool_parsers(None)
