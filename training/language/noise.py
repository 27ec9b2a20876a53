"""Makes a clean question look typed by a person: greetings, lost capitals, missing marks, slips of the finger."""

from __future__ import annotations

import random
from typing import Literal

Language = Literal["en", "ko"]

BEFORE = {
    "en": ("Hi! ", "Hello, ", "Hey, ", "hi ", "Please: ", "Quick question: ", "One question: ", "Sorry, ", "So, ",
           "Ok, ", "I have a question: ", "Hey there. ", "Tell me: ", "Good morning. ", "Hello guide, ", "And: ",
           "Um, ", "I wonder: ", "Can you help me? ", "Help: ", "Just curious: ", "Now, ", "Well, ", "Newbie here. "),
    "ko": ("안녕하세요. ", "안녕! ", "질문 있습니다. ", "질문이요. ", "혹시 ", "저기요, ", "그런데 ",
           "궁금한데 ", "저 ", "음, ",
           "알려 주세요. ", "도와주세요. ", "하나만 물어볼게요. ", "초보인데요, ", "죄송한데 ", "근데 "),
}  # fmt: skip
AFTER = {
    "en": (" Thanks!", " thanks", " Thank you.", " please", " please?", " pls", " I am new to this.", " Any idea?",
           " thx", " In short, please.", " Help!", " Briefly.", " Can you explain?"),
    "ko": (" 감사합니다.", " 부탁드려요.", " 알려줘", " 알려 주세요.", " 고마워요",
           " 잘 모르겠어요.", " 간단히요.", " 궁금해요", " ㅠㅠ"),
}  # fmt: skip
KEPT = frozenset("0123456789/-_{}`\"'")
"""A word with one of these is an option, a route, a number or a quotation, and is left alone."""


def roughened(text: str, language: Language, rng: random.Random) -> str:
    """`text` as a person in a hurry might type it. A third of the texts keep their wording."""
    if rng.random() < 0.66:
        text = _with_slips(text, rng)
    if rng.random() < 0.1:
        text = _lower_first(text)
    if rng.random() < 0.3 and text[-1] in "?.!":
        text = text[:-1]
    return _recased(framed(text, language, rng), rng)


def framed(text: str, language: Language, rng: random.Random) -> str:
    """`text`, letter by letter, with what people put before and after a question."""
    if rng.random() < 0.15:
        text = rng.choice(BEFORE[language]) + text
    if rng.random() < 0.12:
        text += rng.choice(AFTER[language])
    return text


def _with_slips(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    if len(words) > 4 and rng.random() < 0.35:
        at = rng.randrange(len(words))
        if not KEPT & set(words[at]):
            del words[at]
    if rng.random() < 0.25:
        at = rng.randrange(len(words))
        if len(words[at]) > 3 and not KEPT & set(words[at]):
            words[at] = _mistyped(words[at], rng)
    if len(words) > 3 and rng.random() < 0.08:
        at = rng.randrange(len(words) - 1)
        words[at : at + 2] = [words[at + 1], words[at]]
    return " ".join(words)


def _mistyped(word: str, rng: random.Random) -> str:
    at = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _recased(text: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.3:
        return text.lower()
    if chance < 0.36:
        return _lower_first(text)
    return text.upper() if chance < 0.37 and "{" not in text else text
