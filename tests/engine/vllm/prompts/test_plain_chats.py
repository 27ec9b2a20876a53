"""Plain chats are rendered as transformers renders them; what is not plain is left to vLLM."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import _compile_jinja_template

from engine.config import GUIDE
from engine.vllm.prompts.plain_chats import PlainChats, _is_right

ASKED = {"add_generation_prompt": True, "continue_final_message": False, "tokenize": False}
QUESTION = [{"role": "user", "content": " Why?\n"}]
TEMPLATE = (
    "{% if not messages %}{{ raise_exception('none') }}{% endif %}{{ bos_token }}"
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if enable_thinking %}<think>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(GUIDE)


def chats(tokenizer: Any, template: str, *variables: str, has_parts: bool = False) -> PlainChats:
    return PlainChats(
        _compile_jinja_template(template),
        variables,
        tokenizer.special_tokens_map,
        tokenizer._tokenizer,
        has_parts=has_parts,
    )


def test_as_transformers_renders(tokenizer: Any) -> None:
    plain = chats(tokenizer, tokenizer.chat_template)
    dialogue = [{"role": "system", "content": "Be brief."}, *QUESTION]
    for _ in range(5):
        made = plain.engine_input(dialogue, ASKED, 10_000)
        assert made is not None
        assert made["prompt"] == tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
        assert made["prompt_token_ids"] == tokenizer(made["prompt"], add_special_tokens=False)["input_ids"]
        assert made["type"] == "token"
        dialogue += [{"role": "assistant", "content": "Because.\n\n"}, *QUESTION]


def test_its_tokens_are_cut_at_what_the_template_writes(tokenizer: Any) -> None:
    cuts = chats(tokenizer, tokenizer.chat_template)._tokens._cut_ids
    assert {tokenizer.decode([number]) for number in cuts} == {"<|im_start|>", "<|im_end|>"}
    assert not chats(tokenizer, TEMPLATE)._tokens._cut_ids
    assert not chats(tokenizer, "{{ raise_exception('never') }}")._tokens._cut_ids


def test_arguments_that_the_template_uses_reach_it(tokenizer: Any) -> None:
    plain = chats(tokenizer, TEMPLATE, "messages", "enable_thinking")
    for thinks in (True, False):
        made = plain.engine_input(QUESTION, ASKED | {"enable_thinking": thinks, "reasoning_effort": "low"}, 1000)
        assert made is not None
        assert made["prompt"].endswith("<think>") == thinks


def test_a_template_may_read_parts(tokenizer: Any) -> None:
    plain = chats(
        tokenizer, "{% for part in messages[0].content %}{{ part.type }}: {{ part.text }}{% endfor %}", has_parts=True
    )
    made = plain.engine_input(QUESTION, ASKED, 1000)
    assert made is not None
    assert made["prompt"] == "text:  Why?\n"


@pytest.mark.parametrize(
    ("messages", "kwargs"),
    [
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], {}),
        ([{"role": "user", "content": [{"type": "text", "text": "x"}]}], {}),
        ([{"role": "user", "content": "x", "name": "me"}], {}),
        ([{"role": "developer", "content": "x"}], {}),
        ([{"role": "system", "content": "x-anthropic-billing-header: y\nz"}, *QUESTION], {}),
        (QUESTION, {"tools": []}),
        (QUESTION, {"add_generation_prompt": False, "continue_final_message": True}),
        (QUESTION, {"documents": []}),
        ([], {}),
    ],
)
def test_what_is_left_to_vllm(tokenizer: Any, messages: list[dict[str, Any]], kwargs: dict[str, Any]) -> None:
    assert chats(tokenizer, TEMPLATE).engine_input(messages, ASKED | kwargs, 1000) is None


def test_a_chat_that_is_too_long_gets_its_error_from_vllm(tokenizer: Any) -> None:
    plain = chats(tokenizer, tokenizer.chat_template)
    made = plain.engine_input(QUESTION, ASKED, 1000)
    assert made is not None
    size = len(made["prompt_token_ids"])
    assert plain.engine_input(QUESTION, ASKED, size) is not None
    assert plain.engine_input(QUESTION, ASKED, size - 1) is None


class Renderer:
    """vLLM's, as far as it is compared; it renders as `plain`, and adds `end`."""

    def __init__(self, plain: PlainChats, end: str = "") -> None:
        self.model_config = type("Model", (), {"max_model_len": 1000})
        self._plain = plain
        self._end = end

    def render_chat(self, conversations: list[Any], params: Any, tokens: Any) -> Any:
        (messages,) = conversations
        made = self._plain.engine_input(messages, params.chat_template_kwargs, 1000)
        assert made is not None
        return conversations, [made | {"prompt": made["prompt"] + self._end}]


@pytest.mark.parametrize("end", ["", "x"])
def test_they_are_used_only_where_vllm_renders_alike(tokenizer: Any, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, same = (chats(tokenizer, tokenizer.chat_template) for _ in range(2))
    params = ModuleType("vllm.renderers.params")
    params.ChatParams = params.TokenizeParams = SimpleNamespace  # type: ignore[attr-defined]  # made here
    monkeypatch.setitem(sys.modules, "vllm.renderers.params", params)
    assert _is_right(plain, Renderer(same, end), None) == (not end)
