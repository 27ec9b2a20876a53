"""Tokenizes prompts that begin as earlier ones did: only what is new is tokenized. Does not import vLLM.

A tokenizer first cuts a text at its special tokens, and then handles each piece by itself. So the tokens of a text are
those of its part up to the end of a special token, and those of the rest. `cuts_of` names the tokens of which that is
true; for the others, and for tokenizers that treat the beginning of a text in a way of its own, nothing is kept. Only
the few that chats are written with matter: a model can have a thousand, and texts are searched for all of the cuts.
Tests: `tests/engine/vllm/prompts/test_prefix_tokens.py`.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import OrderedDict
from typing import Any

KEPT_CHARS = 2 << 20
"""How many characters of prompts are kept; their tokens take as many bytes again, or less."""
LOOKED_UP = 6
"""At how many of its last special tokens a text is cut to look for a beginning that is kept: those of two turns."""


class PrefixTokens:
    """Tokenizes with one of the `tokenizers` library, whose settings nobody changes."""

    def __init__(self, tokenizer: Any, written: str, kept_chars: int = KEPT_CHARS) -> None:
        """`written` has the special tokens that the texts are written with."""
        self._tokenizer = tokenizer
        self._kept: OrderedDict[tuple[str, str], array[int]] = OrderedDict()
        self._chars = 0
        self._kept_chars = kept_chars
        cuts = cuts_of(tokenizer, written)
        self._cut_ids = frozenset(cuts.values())
        self._cuts = re.compile("|".join(map(re.escape, sorted(cuts, key=len, reverse=True)))) if cuts else None

    def ids(self, text: str, owner: str = "", *, most_new: int | None = None) -> list[int] | None:
        """The tokens of `text`, without any that a tokenizer adds; None if more than `most_new` characters are new.

        Only what texts of the same `owner` have left is used: how long it takes must not tell what others have asked.
        """
        ends = self._ends(text)
        known: array[int] = array("I")
        start = 0
        for end in reversed(ends[-LOOKED_UP:]):
            found = self._kept.get((owner, text[:end]))
            if found is not None:
                self._kept.move_to_end((owner, text[:end]))
                known, start = found, end
                break
        if most_new is not None and len(text) - start > most_new:
            return None
        new = self._tokenizer.encode(text[start:], add_special_tokens=False).ids
        ids: list[int] = [*known, *new]
        if ends and ends[-1] > start:
            self._keep(text[: ends[-1]], owner, ids, len(known), sum(end > start for end in ends))
        return ids

    def learn(self, text: str, ids: list[int], owner: str = "") -> None:
        """Keep the tokens of a text that was tokenized elsewhere."""
        ends = self._ends(text)
        if ends:
            self._keep(text[: ends[-1]], owner, ids, 0, len(ends))

    def _ends(self, text: str) -> list[int]:
        return [] if self._cuts is None else [cut.end() for cut in self._cuts.finditer(text)]

    def _keep(self, text: str, owner: str, ids: list[int], start: int, cuts: int) -> None:
        """Keep the tokens of `text`, which ends with a cut, the last in `ids`; from `start` on there are `cuts`."""
        places = [place for place in range(start, len(ids)) if ids[place] in self._cut_ids]
        if len(places) != cuts or len(text) > self._kept_chars:
            return  # The tokenizer sees them elsewhere than we do.
        if (owner, text) not in self._kept:
            self._chars += len(text)
        self._kept[owner, text] = array("I", ids[: places[-1] + 1])
        while self._chars > self._kept_chars:
            (_, oldest), _ = self._kept.popitem(last=False)
            self._chars -= len(oldest)


def cuts_of(tokenizer: Any, written: str) -> dict[str, int]:
    """The special tokens in `written` after which a text can be cut, with their ids.

    None where that would change the text's tokens.
    """
    settings = json.dumps(json.loads(tokenizer.to_str())["pre_tokenizer"])
    model = tokenizer.model
    if '"first"' in settings or getattr(model, "dropout", None):
        return {}  # The first piece of a text is not like the others, or no piece is like any other.
    added = {token.content: (number, token) for number, token in tokenizer.get_added_tokens_decoder().items()}
    return {
        text: number
        for text, (number, token) in added.items()
        if text in written  # First: the others are not compared with all.
        and token.special
        and not (token.normalized or token.lstrip or token.rstrip or token.single_word)
        and not any(_overlaps(text, other) for other in added if other != text)
    }


def _overlaps(cut: str, other: str) -> bool:
    """Whether `other` can occur in a text so that it shares some characters with `cut`, and not all of its own."""
    if cut in other:
        return True
    sizes = range(1, min(len(cut), len(other)))
    return any(cut.endswith(other[:size]) or cut.startswith(other[-size:]) for size in sizes)
