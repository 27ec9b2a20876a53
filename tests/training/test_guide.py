"""The guide's folder: complete, small, and with a chat template that all dialogues pass through."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from engine.config import GUIDE
from training.dialogues.topics import read_topics
from training.model.tokenizer import TEMPLATE

SIZE_MAX_BYTES = 16 * 2**20


def test_the_folder_is_small_and_says_what_it_is() -> None:
    files = {path.name: path.stat().st_size for path in GUIDE.iterdir()}
    assert files.keys() >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert sum(files.values()) <= SIZE_MAX_BYTES
    config = json.loads((GUIDE / "config.json").read_text("utf-8"))
    assert config["dtype"] == "bfloat16"
    assert config["max_position_embeddings"] >= 2048


def test_the_guide_tells_its_true_size() -> None:
    parameters = (GUIDE / "model.safetensors").stat().st_size / 2
    answers = [text for topic in read_topics().values() for texts in topic.answers.values() for text in texts]
    told = re.findall(r"(\d+) million parameters|(\d+)00만", " ".join(answers))
    assert told
    assert {"".join(either) for either in told} == {f"{parameters / 1e6:.0f}"}


def test_each_number_to_a_thousand_is_one_token(tokenizer: Any) -> None:
    assert all(len(tokenizer.encode(str(number))) == 1 for number in range(1001))


@pytest.mark.parametrize(
    "text", ["Hello", "안녕하세요, 포트를 바꾸고 싶어요.", "emoji 🎈 and \n\n code `x = 1`", "日本語"]
)
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_template_writes_tools_calls_and_results(tokenizer: Any) -> None:
    function = {"name": "get_time", "arguments": {"city": "서울"}}
    written = '{"name": "get_time", "arguments": {"city": "서울"}}'
    text = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "What time is it in 서울?"},
            {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]},
            {"role": "tool", "content": '{"time": "7:00"}'},
        ],
        tools=[{"type": "function", "function": {"name": "get_time", "parameters": {}}}],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert text == (
        '<|im_start|>system\n<tools>\n{"name": "get_time", "parameters": {}}\n</tools><|im_end|>\n'
        "<|im_start|>user\nWhat time is it in 서울?\nWhat time is it in 서울?<|im_end|>\n"
        f"<|im_start|>assistant\n<tool_call>\n{written}\n</tool_call><|im_end|>\n"
        '<|im_start|>user\n<tool_response>\n{"time": "7:00"}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_the_template_tells_what_a_tool_is_for_before_its_name(tokenizer: Any) -> None:
    properties = {"city": {"type": "string", "description": "도시"}}
    schema = {"type": "object", "properties": properties, "required": ["city"]}
    described = {"name": "get_time", "description": 'The "local" time', "parameters": schema}
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "?"}],
        tools=[
            {"type": "function", "function": described},
            {"type": "function", "function": {"name": "bare", "description": None}},
            {"type": "function", "function": {"name": "free", "parameters": {"type": "object"}}},
        ],
        tokenize=False,
    )
    written = json.dumps(properties, ensure_ascii=False)
    assert text.split("\n")[1:6] == [
        "<tools>",
        '{"description": "The \\"local\\" time", "name": "get_time", "parameters": ' + written + "}",
        '{"name": "bare", "parameters": {}}',
        '{"name": "free", "parameters": {"type": "object"}}',
        "</tools><|im_end|>",
    ]


@pytest.mark.parametrize(
    ("question", "tools", "times"), [("?", 1, 2), ("?", 0, 1), ("?" * 300, 1, 2), ("?" * 301, 1, 1)]
)
def test_the_template_writes_a_short_question_twice_beside_tools(
    tokenizer: Any, question: str, tools: int, times: int
) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        tools=[{"type": "function", "function": {"name": "one"}}] * tools,
        tokenize=False,
    )
    assert text.endswith("<|im_start|>user\n" + "\n".join([question] * times) + "<|im_end|>\n")


def test_the_guide_has_the_template_of_its_training(tokenizer: Any) -> None:
    assert tokenizer.chat_template == TEMPLATE.read_text(encoding="utf-8")


def test_the_template_shows_no_earlier_thoughts(tokenizer: Any) -> None:
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "<think>\nA greeting.\n</think>\n\nHello!"},
        {"role": "user", "content": "Again"},
    ]
    text = tokenizer.apply_chat_template(messages, enable_thinking=True, tokenize=False)
    assert "/think<|im_end|>" in text
    assert "<|im_start|>assistant\nHello!<|im_end|>" in text


def test_the_template_refuses_a_role_it_does_not_know(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="no role wizard"):
        tokenizer.apply_chat_template([{"role": "wizard", "content": "Hello"}], tokenize=False)
