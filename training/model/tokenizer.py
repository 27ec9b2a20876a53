"""Makes the guide's tokenizer: byte-level BPE, trained on the guide's own texts, with a token for each number to 1,000.

A word is split alike with and without a space before it, so that what is copied from a sentence into a call's argument
is copied token by token: « Oslo» is one token where «Oslo» is one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CONTEXT_TOKENS = 4096
VOCABULARY_SIZE = 7168
TEMPLATE = Path(__file__).with_name("chat_template.jinja")

END_OF_TEXT, TURN_BEGINS, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TOKENS = (END_OF_TEXT, TURN_BEGINS, TURN_ENDS)
# They are part of the answer's text, so they are not special: a tool parser and a reasoning parser look for them there.
MARKUP_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

# Of them, those that are another token with a space before it.
SPACED_TOKENS = 2200
# What merges may not cross. The comma before a number and each number up to 1,000 are pieces of their own: counting
# is then one step from one token to the next. Where a text ends with such a comma, a number is still to come.
PIECES = r", (?=\p{N}|\z)|1000|\p{N}{1,3}|%s\p{L}+|%s[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPACE = "Ġ"
"""How byte-level BPE writes a space."""
# Often enough that the merges of every number come before those of rare words.
NUMBER_REPEATS = 400


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of `VOCABULARY_SIZE` tokens for `texts`, with the chat template in it."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    lines = list(_with_numbers(texts))
    tokenizer = tokenizers.Tokenizer(models.BPE())
    # Korean typed on some systems comes as separate letters.
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _pieces(before_words="")
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - SPACED_TOKENS,
        special_tokens=[*CONTROL_TOKENS, *MARKUP_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    spaced = _spaced(tokenizer, lines)
    tokenizer.pre_tokenizer = _pieces(before_words=" ?")
    return PreTrainedTokenizerFast(
        tokenizer_object=_finished(tokenizer, spaced),
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


def _pieces(*, before_words: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES % (before_words, before_words)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _spaced(tokenizer: Any, texts: list[str]) -> list[str]:
    """The tokens that most often follow a space."""
    counted: Counter[str] = Counter()
    for encoded in tokenizer.encode_batch(texts, add_special_tokens=False):
        tokens = encoded.tokens
        counted.update(after for before, after in pairwise(tokens) if before == SPACE)
    return [token for token, _ in counted.most_common() if not (token[0].isdigit() or token[0] == SPACE)][
        :SPACED_TOKENS
    ]


def _finished(tokenizer: Any, spaced: list[str]) -> Any:
    """With the spaced tokens, whose merges come last, and with the markup in the text.

    The trainer makes all the tokens it is given special; those of the markup must show in an answer's text.
    """
    import tokenizers

    described = json.loads(tokenizer.to_str())
    model = described["model"]
    for token in spaced:
        model["vocab"][SPACE + token] = len(model["vocab"])
        model["merges"].append([SPACE, token])
    for token in described["added_tokens"]:
        token["special"] = token["content"] in CONTROL_TOKENS
    return tokenizers.Tokenizer.from_str(json.dumps(described))


def spaced_pairs(tokenizer: PreTrainedTokenizerFast) -> list[tuple[int, int]]:
    """The ids of each token that begins with a space, and of the same one without."""
    ids = tokenizer.get_vocab()
    return [(at, ids[token[1:]]) for token, at in ids.items() if token[0] == SPACE and token[1:] in ids]
