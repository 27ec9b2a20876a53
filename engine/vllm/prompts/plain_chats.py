"""Renders plain chats, those of text without tools, in a quarter of the time that vLLM 0.32's renderer takes.

It calls the same template with the same variables, and the same tokenizer, without what lies between for images,
tools, several threads and other libraries. What is not plain is left to vLLM, and so is a chat that fails, which gets
vLLM's error. Both are compared at start: where they differ, vLLM renders everything.
Tests: `tests/engine/vllm/prompts/test_plain_chats.py`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import structlog

from engine.vllm.formats.output_format import SWITCHES
from engine.vllm.prompts.prefix_tokens import PrefixTokens

log = structlog.get_logger(__name__)

ROLES = frozenset({"system", "user", "assistant"})
FIELDS = frozenset({"role", "content"})
OPTIONS = frozenset({*SWITCHES, "reasoning_effort"})
"""Arguments of templates that a plain chat may have."""
BASIC = frozenset({"add_generation_prompt", "continue_final_message", "tokenize"})
BILLING = "x-anthropic-"
"""How a system message begins that vLLM shortens (`_strip_claude_code_billing_header`)."""


class PlainChats:
    """Renders for one model."""

    def __init__(
        self,
        template: Any,
        variables: Collection[str],
        special_tokens: Mapping[str, Any],
        tokenizer: Any,
        *,
        has_parts: bool,
    ) -> None:
        """`template` is compiled by transformers and uses these `variables`; `has_parts`: it reads a message's content
        as a list of parts. `tokenizer` is one of the `tokenizers` library.
        """
        self._template = template
        # jinja2 asks a chain of dicts for each of its functions, twice for each text: half of what a short chat takes.
        self._functions = dict(template.globals)
        self._variables = variables
        self._special_tokens = dict(special_tokens)
        self._has_parts = has_parts
        self._tokens = PrefixTokens(tokenizer, "\n".join(self._samples()))

    def engine_input(
        self,
        messages: list[dict[str, Any]],
        kwargs: Mapping[str, Any],
        max_tokens: int,
        owner: str = "",
        *,
        most_new: int | None = None,
    ) -> dict[str, Any] | None:
        """vLLM's input for a chat; None if it must be made by vLLM.

        That is so if the chat is not plain, has more than `max_tokens` tokens, or if more than `most_new` characters
        are not known from earlier chats of `owner`.
        """
        if not (_is_plain(messages) and kwargs.get("add_generation_prompt")) or kwargs.get("continue_final_message"):
            return None
        more = kwargs.keys() - BASIC
        if not more <= OPTIONS:
            return None
        options = {name: kwargs[name] for name in more if name in self._variables}
        arrival_time = time.time()
        try:
            text = self._text(messages, options)
        except Exception:  # The template's own, of any kind: vLLM meets it again, and reports it.
            return None
        ids = self._tokens.ids(text, owner, most_new=most_new)
        if ids is None or len(ids) > max_tokens:
            return None
        return {"type": "token", "prompt_token_ids": ids, "prompt": text, "arrival_time": arrival_time}

    def learn(self, engine_input: Any, owner: str) -> None:
        """Keep the tokens of what vLLM has rendered."""
        text = engine_input.get("prompt")
        if engine_input.get("type") == "token" and isinstance(text, str):
            self._tokens.learn(text, engine_input["prompt_token_ids"], owner)

    def _samples(self) -> Iterator[str]:
        """The texts of the samples, without those that the template refuses."""
        for sample in SAMPLES:
            with contextlib.suppress(Exception):  # The template's own, of any kind.
                yield self._text(_messages(sample), {})

    def _text(self, messages: list[dict[str, Any]], options: dict[str, Any]) -> str:
        """The chat as the template writes it. Raises what the template raises."""
        template = self._template
        variables = {
            **self._functions,
            "messages": self._as_templates_want(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
            **self._special_tokens,
            **options,
        }
        # What `template.render` does.
        environment = template.environment
        context = environment.context_class(
            environment, variables, template.name, template.blocks, globals=self._functions
        )
        text: str = environment.concat(template.root_render_func(context))
        return text

    def _as_templates_want(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        # Copies, as vLLM makes them, in case that a template changes them.
        if self._has_parts:
            return [
                {"role": message["role"], "content": [{"type": "text", "text": message["content"]}]}
                for message in messages
            ]
        return [{"role": message["role"], "content": message["content"]} for message in messages]


def _is_plain(messages: list[dict[str, Any]]) -> bool:
    for message in messages:
        if message.keys() != FIELDS or message["role"] not in ROLES or not isinstance(message["content"], str):
            return False
        if message["role"] == "system" and message["content"].startswith(BILLING):
            return False
    return True


SAMPLES = (
    [("user", "Hello")],
    [("user", "  Wie geht's? \n")],
    [("system", "Be brief.\n"), ("user", "你好"), ("assistant", " Yes 🙂\n\n"), ("user", "<b>{{ x }}</b>")],
    [("user", "Hello"), ("assistant", "\n Hi "), ("user", " again")],
)
"""Chats that are rendered both ways; the last begins as the first."""


def _messages(sample: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in sample]


def plain_chats_of(renderer: Any, chat_template: str | None) -> PlainChats | None:
    """The plain chats of a model, by vLLM's renderer; None where it does more than is known here, or something else."""
    try:
        plain = _plain_chats_of(renderer, chat_template)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
        log.info("plain_chats_off", reason=repr(error)[:200])
        return None
    if plain is not None and not _is_right(plain, renderer, chat_template):
        log.info("plain_chats_off", reason="vLLM renders them in another way")
        return None
    return plain


def _plain_chats_of(renderer: Any, chat_template: str | None) -> PlainChats | None:
    from transformers.utils.chat_template_utils import _compile_jinja_template
    from vllm.renderers.hf import (
        HfRenderer,
        _cached_resolve_chat_template_kwargs,
        resolve_chat_template,
        resolve_chat_template_content_format,
    )

    model = renderer.model_config
    if type(renderer) is not HfRenderer or model.is_multimodal_model or model.enable_prompt_embeds:
        return None
    if model.is_encoder_decoder:
        return None
    tokenizer = renderer.get_tokenizer()
    raw = tokenizer._tokenizer
    if raw.truncation is not None or raw.padding is not None or raw.encode_special_tokens:
        return None
    template = resolve_chat_template(tokenizer, chat_template=chat_template, tools=None, model_config=model)
    if template is None:
        return None
    form = resolve_chat_template_content_format(chat_template, None, "auto", tokenizer, model_config=model)
    return PlainChats(
        _compile_jinja_template(template),
        _cached_resolve_chat_template_kwargs(template),
        tokenizer.special_tokens_map,
        raw,
        has_parts=form == "openai",
    )


def _is_right(plain: PlainChats, renderer: Any, chat_template: str | None) -> bool:
    """Whether both render the samples alike."""
    from vllm.renderers.params import ChatParams, TokenizeParams

    kwargs = {"add_generation_prompt": True, "continue_final_message": False, "tokenize": False}
    params = ChatParams(chat_template=chat_template, chat_template_kwargs=kwargs)
    tokens = TokenizeParams(max_total_tokens=renderer.model_config.max_model_len, add_special_tokens=False)
    for sample in SAMPLES:
        messages = _messages(sample)
        try:
            _, (theirs,) = renderer.render_chat([messages], params, tokens)
        except Exception:  # What a template refuses may be anything; the model's owner need not care.
            continue
        ours = plain.engine_input(messages, kwargs, renderer.model_config.max_model_len)
        if ours is None or ours | {"arrival_time": 0} != theirs | {"arrival_time": 0}:
            return False
    return True
