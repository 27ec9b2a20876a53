"""What llguidance lets through, token by token."""

from __future__ import annotations

import functools
import json

import llguidance
from tokenizers import Tokenizer

from engine.config import GUIDE
from engine.grammar.backends import parser_limits

END = 2
"""The guide's token for the end."""


@functools.cache
def guide_with(tags: tuple[str, ...]) -> tuple[Tokenizer, llguidance.LLTokenizer, dict[str, int]]:
    """The guide's tokenizer with further tags as tokens, the same for llguidance, and the ids of all its tags."""
    config = json.loads((GUIDE / "tokenizer.json").read_text("utf-8"))
    added = config["added_tokens"]
    first = Tokenizer.from_str(json.dumps(config)).get_vocab_size()
    known = {one["content"] for one in added}
    for number, tag in enumerate(tag for tag in tags if tag not in known):
        # As in the tokenizers of models whose tags are no words in brackets.
        added.append(added[0] | {"id": first + number, "content": tag})
    text = json.dumps(config)
    ids = {one["content"]: one["id"] for one in added}
    return Tokenizer.from_str(text), llguidance.LLTokenizer(text, eos_token=END), ids


def accepts(grammar: str, text: str, *, by_bytes: bool = False, tags: tuple[str, ...] = ()) -> bool:
    """Whether `text` may be generated, and may end there; with the guide's tokens, or with one token per byte."""
    if by_bytes:
        tokenizer, tokens = llguidance.LLTokenizer("byte"), list(text.encode())
    else:
        guide, tokenizer, _ = guide_with(tags)
        tokens = guide.encode(text, add_special_tokens=False).ids
    source = llguidance.grammar_from("grammar", grammar)
    matcher = llguidance.LLMatcher(tokenizer, source, log_level=0, limits=parser_limits())
    assert not matcher.get_error(), matcher.get_error()
    return all(matcher.consume_token(token) for token in tokens) and matcher.is_accepting()
