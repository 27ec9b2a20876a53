"""Makes up what people might name: words that there are not, words side by side, short phrases.

What is made up cannot be known by heart, so it teaches to copy.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from training.language.noise import Language
from training.language.spintax import filled

STARTS = ("b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "qu", "r",
          "s", "sh", "sk", "st", "t", "tr", "v", "w", "y", "z", "")  # fmt: skip
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "ia", "io", "oo", "ou", "y")
ENDS = ("", "", "", "b", "ck", "d", "g", "l", "ll", "m", "n", "nd", "ng", "p", "r", "rd", "rt", "s", "sk", "ss", "st",
        "t", "th", "x")  # fmt: skip
PHRASES = {
    "en": ("{0} of {1}", "{0} of the {1}", "the {0} of {1}", "{0} for {1}", "{0} for a {1}", "{0} in {1}",
           "{0} on the {1}", "{0} and {1}", "{0} with {1}", "{0} without {1}", "{0} near the {1}", "{0} to {1}",
           "{0} from {1} to {2}", "the {0} in the {1}", "{0} at {1}", "my {0} and the {1}", "{0} {1} for {2}",
           "how to {0} a {1}", "{0}'s {1}", "the {0}'s {1}", "no {0}", "{0} under the {1} {2}", "{0} about {1}",
           "a {0} by the {1}", "{0} or {1}", "old {0} {1}", "why the {0} is {1}", "{0} is {1}", "big {0}"),
    "ko": ("{0}의 {1}", "{0} 없는 {1}", "{0}에 대한 {1}", "{0}에서 {1}", "{0:과} {1}", "{0:을} 위한 {1}",
           "{0} 속의 {1}", "{0} {1} {2}", "작은 {0}", "{0:이} 있는 {1}", "새 {0:과} {1}", "{0} 옆 {1}", "{0:은} {1}",
           "{0}부터 {1}", "{0} 하는 법", "오래된 {0}의 {1}", "{0} 관련 {1}", "{0} 쪽 {1}"),
}  # fmt: skip
MADE_UP_SHARE, PHRASE_SHARE = 0.3, 0.5
"""Of all, and of those that may be a phrase."""


def invented(language: Language, words: Mapping[str, Sequence[str]], rng: random.Random, *, may_be_phrase: bool) -> str:
    """One to five words, or a name."""
    if may_be_phrase and rng.random() < PHRASE_SHARE:
        slots = {str(at): _word(language, words, rng) for at in range(3)}
        return filled(rng.choice(PHRASES[language]), slots)
    text = " ".join(_word(language, words, rng) for _ in range(rng.choices((1, 2, 3), (0.5, 0.35, 0.15))[0]))
    return text.title() if rng.random() < 0.5 else text


def _word(language: Language, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    return made_up(language, words, rng) if rng.random() < MADE_UP_SHARE else rng.choice(words[language])


def made_up(language: Language, words: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """A word that means nothing: syllables, in Korean those of other words."""
    count = rng.choices((1, 2, 3), (0.15, 0.55, 0.3))[0]
    if language == "ko":
        return "".join(rng.choice(rng.choice(words["ko"]).replace(" ", "")) for _ in range(count + 1))
    return "".join(rng.choice(STARTS) + rng.choice(VOWELS) + rng.choice(ENDS) for _ in range(count))
