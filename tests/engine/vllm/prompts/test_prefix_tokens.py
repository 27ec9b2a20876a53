"""Only what is new in a prompt is tokenized, and the tokens are those of the whole."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from engine.config import GUIDE
from engine.vllm.prompts.prefix_tokens import PrefixTokens, cuts_of

END, START = "<|im_end|>", "<|im_start|>"
TURN = f"{START}user\nWhat is a token?{END}\n{START}assistant\n"
ANSWER = f"A piece of text. 🙂{END}\n"
WRITTEN = TURN + ANSWER


class Counting:
    """A tokenizer that notes what it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.texts: list[str] = []
        self._tokenizer = tokenizer

    def encode(self, text: str, **options: Any) -> Any:
        self.texts.append(text)
        return self._tokenizer.encode(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@pytest.fixture(scope="module")
def guide() -> Tokenizer:
    return Tokenizer.from_file(str(GUIDE / "tokenizer.json"))


def whole(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def test_of_a_growing_dialogue_only_the_new_turns_are_tokenized(guide: Tokenizer) -> None:
    counting = Counting(guide)
    tokens = PrefixTokens(counting, WRITTEN)
    text = TURN
    for _ in range(6):
        assert tokens.ids(text) == whole(guide, text)
        text += ANSWER + TURN
    assert counting.texts[0] == TURN
    assert max(map(len, counting.texts)) < len(TURN + ANSWER + TURN)


def test_any_text_has_the_tokens_of_the_whole(guide: Tokenizer) -> None:
    """Also where the special tokens stand in odd places, as in what a client writes."""
    tokens, dice = PrefixTokens(guide, WRITTEN), random.Random(7)
    pieces = [END, START, "\n", " ", "  a", "word", "<|im", "_end|>", "|>", "é", "🙂", "\t", END + END, "1 2 3"]
    for _ in range(300):
        text = ""
        for _ in range(dice.randrange(1, 9)):
            text += "".join(dice.choices(pieces, k=dice.randrange(1, 6)))
            assert tokens.ids(text) == whole(guide, text), repr(text)


def test_what_one_owner_has_asked_serves_no_other(guide: Tokenizer) -> None:
    counting = Counting(guide)
    tokens = PrefixTokens(counting, WRITTEN)
    for owner in ("one", "two"):
        assert tokens.ids(TURN, owner) == whole(guide, TURN)
    assert counting.texts == [TURN, TURN]
    tokens.ids(TURN, "one")
    assert len(counting.texts[-1]) < len(TURN)


def test_more_than_is_allowed_is_not_tokenized_until_it_is_known(guide: Tokenizer) -> None:
    tokens = PrefixTokens(guide, WRITTEN)
    text = TURN + ANSWER * 20 + TURN
    assert tokens.ids(text, most_new=len(TURN)) is None
    tokens.learn(text, whole(guide, text))
    assert tokens.ids(text, most_new=len(TURN)) == whole(guide, text)


def test_what_is_kept_has_a_bound(guide: Tokenizer) -> None:
    counting = Counting(guide)
    tokens = PrefixTokens(counting, WRITTEN, kept_chars=3 * len(TURN))
    texts = [f"{number}{TURN}" for number in range(6)]
    for text in [*texts, *texts[-2:]]:
        assert tokens.ids(text) == whole(guide, text)
    assert tokens._chars <= 3 * len(TURN)
    assert counting.texts[:6] == texts
    assert all(len(text) < len(TURN) for text in counting.texts[6:]), "the last ones are kept"
    tokens.ids(texts[0])
    assert counting.texts[-1] == texts[0]


def small(*added: AddedToken, pre_tokenizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(added))
    return tokenizer


def special(text: str, **options: bool) -> AddedToken:
    return AddedToken(text, special=True, **({"normalized": False} | options))


def cuts(*added: AddedToken, written: str = "<e> <e>\n <s>", **more: Any) -> set[str]:
    return set(cuts_of(small(*added, **more), written))


def test_where_a_text_may_be_cut() -> None:
    assert cuts(special("<e>"), special("<s>")) == {"<e>", "<s>"}
    for option in ("lstrip", "rstrip", "single_word", "normalized"):
        assert cuts(special("<e>", **{option: True}), special("<s>")) == {"<s>"}
    assert cuts(special("<e>"), special("<e>\n")) == {"<e>\n"}
    assert cuts(special("<e>"), special(">x"), written="<e> >x") == set()
    assert cuts(special("<e>"), pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="first")) == set()
    assert cuts(special("<e>"), pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme="always")) == {"<e>"}


def test_a_text_is_cut_only_at_what_chats_are_written_with() -> None:
    many = [special(f"<|{number}|>") for number in range(1000)]
    assert cuts(*many, written="<|7|>user a<|33|>") == {"<|7|>", "<|33|>"}
    assert cuts(*many, special("|><"), written="<|7|>user a<|33|>") == set(), "they are compared with all"


def test_a_tokenizer_without_cuts_keeps_nothing() -> None:
    tokenizer = small(special("<e>", rstrip=True))
    tokens = PrefixTokens(tokenizer, "<e>")
    for text in ("a <e> a", "a <e> a <e>  a"):
        assert tokens.ids(text) == whole(tokenizer, text)
    assert not tokens._kept
