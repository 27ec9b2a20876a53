"""The guide's exercises, which need no knowledge: counting, repeating, lists, JSON from a sentence.

Each exercise is a question and the one right answer.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from typing import Any

from training.dialogues.roles import FIRST_NUMBER, LAST_NUMBER, REPEATED, Marks
from training.dialogues.topics import DATA, read_toml
from training.language.invented import made_up
from training.language.noise import Language
from training.language.spintax import draw

COUNT_MAX = 1000
COUNT_DOWN_MAX, DOWN_SHARE = 300, 0.2
USUAL_SPAN = 200
MADE_UP_SHARE = 0.3
"""Of the texts to be repeated, those with a word that there is not."""
QUOTATIONS = ('"{text}"', '"{text}"', "'{text}'", "“{text}”")


@dataclass(frozen=True, slots=True)
class LongCounts:
    """How many counts are longer than usual, and how long at most."""

    share: float
    longest: int


FEW_LONG = LongCounts(0.015, COUNT_MAX - 1)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer. `thought` is what a thinking guide writes first."""

    question: str
    answer: str
    thought: str
    is_exact: bool = True
    """Every letter of the question matters, so it is not roughened."""
    is_literal: bool = False
    """Nothing may be put before or after the question either."""
    marks: Marks | None = None


class Skills:
    """Draws exercises from the phrasings in `skills.toml` and the words in `words.toml`."""

    def __init__(self, long: LongCounts = FEW_LONG) -> None:
        self._long = long
        self._phrasings: dict[str, Any] = read_toml(DATA / "skills.toml")
        self.words: dict[str, list[str]] = read_toml(DATA / "words.toml")

    def count(self, language: Language, rng: random.Random) -> Exchange:
        first, last = count_range(rng, self._long)
        phrasings = "count_down" if last < first else "count_to" if first == 1 and rng.random() < 0.3 else "count"
        question = self._phrasing(phrasings, language, rng)
        question = question.replace("{range}", self._phrasing("count_range", language, rng))
        question = question.replace("{a}", str(first)).replace("{b}", str(last))
        marks = Marks(question, ((str(last), LAST_NUMBER), (str(first), FIRST_NUMBER)), FIRST_NUMBER)
        return Exchange(question, counted(first, last), f"Count from {first} to {last}.", marks=marks)

    def repeat(self, language: Language, rng: random.Random) -> Exchange:
        text = self._text(language, rng)
        question = self._phrasing("repeat", language, rng)
        question = question.replace("{quoted}", rng.choice(QUOTATIONS)).replace("{text}", text)
        marks = Marks(question, ((text, REPEATED),), REPEATED)
        return Exchange(question, text, "Repeat the text as it is.", is_literal=True, marks=marks)

    def listing(self, language: Language, rng: random.Random) -> Exchange:
        name = rng.choice(("days", "months", "planets"))
        phrasing = self._phrasings[name]
        question = draw(rng.choice(phrasing[language]), rng)
        return Exchange(question, phrasing[f"answer_{language}"], f"List the {name}.", is_exact=False)

    def json(self, language: Language, rng: random.Random) -> Exchange:
        phrasing = rng.choice(self._phrasings["json"][language])
        question, keys = draw(phrasing["ask"], rng), phrasing["keys"]
        values: dict[str, str | int] = {
            "name": rng.choice(self.words["names"]),
            "age": rng.randint(1, 99),
            "city": rng.choice(self.words["cities_ko" if language == "ko" else "cities"]),
            "product": rng.choice(self.words["products"]),
            "price": rng.randint(1, 999),
            "count": rng.randint(1, 99),
        }
        for key in keys:
            question = question.replace(f"{{{key}}}", str(values[key]))
        answer = json.dumps({key: values[key] for key in keys}, ensure_ascii=False)
        return Exchange(question, answer, "Answer with one JSON object: " + ", ".join(keys) + ".")

    def again(self, kind: str, language: Language, rng: random.Random) -> str:
        """Asks for the last answer once more: `again`, `in_korean` or `in_english`."""
        return draw(rng.choice(self._phrasings["again"][kind][language]), rng)

    def _phrasing(self, name: str, language: Language, rng: random.Random) -> str:
        return draw(rng.choice(self._phrasings[name][language]), rng)

    def _text(self, language: Language, rng: random.Random) -> str:
        kind = rng.random()
        if kind < 0.35:
            return rng.choice(self.words[f"sentences_{language}"])
        if kind < 0.55:
            return rng.choice(self.words[f"sentences_{language}"]).rstrip(".!?")
        known = self.words[language if rng.random() < 0.8 else "names"]
        # Words that come back are the hard part of copying: which of them was it?
        known = rng.sample(known, 2) if rng.random() < 0.15 else known
        words = rng.choices(known, k=rng.randint(1, 10))
        for _ in range(rng.choices((0, 1, 2), (0.75, 0.18, 0.07))[0]):
            words.insert(rng.randrange(len(words) + 1), str(rng.randint(0, rng.choice((9, 99, 9999)))))
        if rng.random() < MADE_UP_SHARE:
            words[rng.randrange(len(words))] = made_up(language, self.words, rng)
        text = " ".join(words)
        return text.capitalize() if rng.random() < 0.3 else text


def count_range(rng: random.Random, long: LongCounts = FEW_LONG) -> tuple[int, int]:
    """Where a count begins and ends. Mostly up to 200 long, often from 1, now and then downwards."""
    chance = rng.random()
    if chance >= 1 - long.share:
        span = rng.randint(USUAL_SPAN, long.longest)
    else:
        span = round(math.exp(rng.uniform(0, math.log(USUAL_SPAN)))) if chance < 0.75 else rng.randint(60, USUAL_SPAN)
    first = 1 if rng.random() < 0.35 else rng.randint(0, COUNT_MAX - span)
    last = min(first + span, COUNT_MAX)
    return (last, first) if last < COUNT_DOWN_MAX and rng.random() < DOWN_SHARE else (first, last)


def counted(first: int, last: int) -> str:
    step = 1 if last >= first else -1
    return ", ".join(str(number) for number in range(first, last + step, step))
