"""Tries a model's tokenizer and chat template before its weights are loaded.

Does not import vLLM. A model that passes `engine.startup.preflight` may still have a tokenizer that returns nothing, or
a template that fails for every chat: the server would be ready and refuse every request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from transformers.utils.chat_template_utils import _compile_jinja_template

from engine.api import EngineStartError
from engine.config import EngineConfig

TEXT = "Hello, world!"


def check_tokenizer(tokenizer: Any, vocabulary_size: int, config: EngineConfig) -> None:
    """Raise `EngineStartError` if the tokenizer returns no tokens for a text, or ones that the model lacks."""
    own = config.extra.get("tokenizer")
    flag, name = ("--model", config.model) if own is None else ("--engine-args: tokenizer", own)
    try:
        ids = list(tokenizer.encode(TEXT, add_special_tokens=False))
        text = tokenizer.decode(ids)
    except Exception as error:
        raise EngineStartError(f"{flag}: the tokenizer of {name!r} fails: {_reason(error)}") from error
    if not ids or not text.strip():
        raise EngineStartError(
            f"{flag}: the tokenizer of {name!r} makes nothing of a text; its files are missing or another's"
        )
    if max(ids) >= vocabulary_size:
        raise EngineStartError(
            f"{flag}: the tokenizer of {name!r} is not the model's own: it gives the token {max(ids)}, and the model"
            f" has {vocabulary_size}"
        )


def check_template(template: Any, config: EngineConfig) -> None:
    """Raise `EngineStartError` if the model's chat template, or one of several, is not valid Jinja."""
    templates = template.values() if isinstance(template, dict) else [template]
    for one in templates:
        if isinstance(one, str):
            try:
                _compile_jinja_template(one)
            except TemplateError as error:
                raise EngineStartError(
                    f"--model: {_template_file(config)} is not a Jinja template: {_reason(error)}; --chat-template can"
                    " name another"
                ) from error


def failed_chat(error: BaseException, config: EngineConfig) -> EngineStartError:
    """The error for a chat template that fails for the simplest chat."""
    if config.chat_template is not None:
        return EngineStartError(f"--chat-template: it fails for a chat of one question: {_reason(error)}")
    return EngineStartError(
        f"--model: {_template_file(config)} fails for a chat of one question: {_reason(error)}; --chat-template can"
        " name another"
    )


def _template_file(config: EngineConfig) -> str:
    folder = Path(config.model).expanduser()
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            return repr(str(folder / name))
    return f"the chat template of {config.model!r}"


def _reason(error: BaseException) -> str:
    lines = str(error).split("\n")
    line = f"line {error.lineno}: " if isinstance(error, TemplateSyntaxError) else ""
    return line + (" ".join(lines[0].split())[:300] or type(error).__name__)
