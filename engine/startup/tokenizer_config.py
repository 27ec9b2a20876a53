"""A tokenizer's configuration, as `tokenizer_config.json` has it. Does not import transformers."""

from __future__ import annotations

from typing import Any

PATHS = frozenset({"vocab_file", "merges_file", "tokenizer_file", "name_or_path"})
"""Of this machine's files; not shown."""


def tokenizer_config(tokenizer: Any) -> dict[str, Any]:
    """What a tokenizer was made with, in plain JSON, its class and its chat template."""
    given: dict[str, Any] = dict(getattr(tokenizer, "init_kwargs", None) or {})
    config = {name: _plain(value) for name, value in given.items() if name not in PATHS}
    config["tokenizer_class"] = type(tokenizer).__name__
    template = getattr(tokenizer, "chat_template", None)
    return config if template is None else config | {"chat_template": _plain(template)}


def _plain(value: Any) -> Any:
    """`value` as JSON; an added token as its text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(one) for one in value]
    return str(getattr(value, "content", value))
