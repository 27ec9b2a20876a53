"""A tokenizer that makes nothing of a text, or a chat template that fails, ends the start with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from vllm.renderers.chat_utils import ChatTemplateResolutionError

from engine.api import EngineStartError
from engine.config import EngineConfig
from engine.startup.probe import check_template, check_tokenizer
from engine.vllm.engine import VllmEngine
from protocol.errors import Fault, TwowireError

CONFIG = EngineConfig("./my-model")


class Tokenizer:
    """Gives these ids for any text, and this text for any ids."""

    def __init__(self, ids: list[int], text: str) -> None:
        self._ids, self._text = ids, text

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return self._ids

    def decode(self, ids: list[int]) -> str:
        return self._text


class Broken(Tokenizer):
    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        raise ValueError("no vocabulary\nat all")


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (Tokenizer([], ""), "makes nothing of a text"),
        (Tokenizer([1], ""), "makes nothing of a text"),
        (Tokenizer([1, 200], "Hello"), "it gives the token 200, and the model has 100"),
        (Broken([], ""), "fails: no vocabulary"),
    ],
)
def test_a_tokenizer_that_cannot_work_is_named(tokenizer: Tokenizer, said: str) -> None:
    with pytest.raises(EngineStartError) as failed:
        check_tokenizer(tokenizer, 100, CONFIG)
    message = str(failed.value)
    assert message.startswith("--model: the tokenizer of './my-model'")
    assert said in message
    assert "\n" not in message
    elsewhere = EngineConfig("./my-model", extra={"tokenizer": "./other"})
    with pytest.raises(EngineStartError, match=r"^--engine-args: tokenizer: the tokenizer of './other'"):
        check_tokenizer(tokenizer, 100, elsewhere)


def test_a_tokenizer_that_changes_a_text_is_let_be() -> None:
    check_tokenizer(Tokenizer([1, 2], "hello , world !"), 100, CONFIG)


def test_the_models_own_template_must_be_jinja(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{% if %}", "utf-8")
    config = EngineConfig(str(tmp_path))
    for template in ("{% if %}", {"default": "{{ messages }}", "tools": "{% if %}"}):
        with pytest.raises(EngineStartError) as failed:
            check_template(template, config)
        assert str(failed.value).startswith(
            f"--model: '{tmp_path / 'chat_template.jinja'}' is not a Jinja template: line 1"
        )
    for fine in (None, "{{ messages }}", {"default": "{% generation %}x{% endgeneration %}"}):
        check_template(fine, config)


def engine_whose_chat(config: EngineConfig, error: TwowireError, cause: Exception) -> VllmEngine:
    engine = VllmEngine.__new__(VllmEngine)
    engine._config = config

    async def prepare(request: Any, client: str = "") -> Any:
        raise error from cause

    engine.prepare = prepare  # type: ignore[method-assign]  # a real one would have to load a model
    return engine


async def test_a_template_that_fails_for_the_plainest_chat_ends_the_start() -> None:
    refused = TwowireError(Fault.INVALID_VALUE, "refused")
    engine = engine_whose_chat(CONFIG, refused, ValueError("'dict object' has no attribute 'foo'"))
    with pytest.raises(
        EngineStartError, match=r"^--model: the chat template of './my-model' fails .* no attribute 'foo'"
    ):
        await engine._try_a_chat()
    engine = engine_whose_chat(EngineConfig("m", chat_template="{{ x }}"), refused, ValueError("no"))
    with pytest.raises(EngineStartError, match=r"^--chat-template: it fails"):
        await engine._try_a_chat()


async def test_a_model_without_a_template_is_served_for_completions_and_says_so() -> None:
    refused = TwowireError(Fault.INVALID_VALUE, "refused")
    with capture_logs() as logged:
        await engine_whose_chat(CONFIG, refused, ChatTemplateResolutionError("none"))._try_a_chat()
    assert [(line["event"], line["option"]) for line in logged] == [("no_chat_template", "--chat-template")]


async def test_a_context_too_short_for_the_chat_is_no_fault_of_the_template() -> None:
    refused = TwowireError(Fault.CONTEXT_LENGTH_EXCEEDED, "too long")
    await engine_whose_chat(CONFIG, refused, ValueError("too long"))._try_a_chat()
