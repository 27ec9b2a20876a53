"""Makes the guide's tokenizer: byte-level BPE, trained on the guide's own texts, with a token for each number to 1,000.

Does not know where the texts come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONTEXT_TOKENS = 4096
VOCABULARY_SIZE = 6144
TEMPLATE = Path(__file__).with_name("chat_template.jinja")

END_OF_TEXT, TURN_BEGINS, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TOKENS = (END_OF_TEXT, TURN_BEGINS, TURN_ENDS)
# They are part of the answer's text, so they are not special: a tool parser and a reasoning parser look for them there.
MARKUP_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

# What merges may not cross. The comma before a number and each number up to 1,000 are pieces of their own: counting
# is then one step from one token to the next. Words take the character before them along ("/health", " port").
PIECES = (
    r", (?=\p{N})|1000|\p{N}{1,3}|[^\r\n\p{L}\p{N}]?\p{L}+|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Often enough that the merges of every number come before those of rare words.
NUMBER_REPEATS = 400


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of `VOCABULARY_SIZE` tokens for `texts`, with the chat template in it."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = tokenizers.Tokenizer(models.BPE())
    # Korean typed on some systems comes as separate letters.
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[*CONTROL_TOKENS, *MARKUP_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_with_numbers(texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=_with_plain_markup(tokenizer),
        eos_token=TURN_ENDS,
        pad_token=END_OF_TEXT,
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    )


def _with_numbers(texts: Iterable[str]) -> Iterator[str]:
    yield from texts
    numbers = [str(number) for number in range(1001)] + [f"{number:02}" for number in range(10)]
    for _ in range(NUMBER_REPEATS):
        yield ", ".join(numbers)


def _with_plain_markup(tokenizer: object) -> object:
    """The trainer makes all the tokens it is given special; those of the markup must show in an answer's text."""
    import tokenizers

    described = json.loads(tokenizer.to_str())  # type: ignore[attr-defined]  # tokenizers has no types for it
    for token in described["added_tokens"]:
        token["special"] = token["content"] in CONTROL_TOKENS
    return tokenizers.Tokenizer.from_str(json.dumps(described))
