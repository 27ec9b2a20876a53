"""Reads what the guide knows: per topic its questions, its answers, the fact that tells a right answer, follow-ups."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.language.noise import Language

DATA = Path(__file__).parents[1] / "data"
HELD_OUT = Path(__file__).parents[1] / "heldout"
LANGUAGES: tuple[Language, ...] = ("en", "ko")


class DataError(ValueError):
    """A data file breaks its form. The message names the file, the topic and the fault."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A short question that only makes sense after its topic, and the topic that answers it."""

    questions: dict[Language, list[str]]
    topic: str


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing the guide knows. Questions are spintax; an answer is right if all `facts` are found in it."""

    name: str
    questions: dict[Language, list[str]]
    answers: dict[Language, list[str]]
    facts: dict[Language, list[re.Pattern[str]]]
    follow_ups: tuple[FollowUp, ...]

    def is_answered_by(self, text: str, language: Language) -> bool:
        return all(fact.search(text) for fact in self.facts[language])


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises `DataError` if it is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path.name}: {error}") from error


def read_topics() -> dict[str, Topic]:
    """All topics, small talk included, by name. Raises `DataError`."""
    topics: dict[str, Topic] = {}
    for path in [*sorted((DATA / "topics").glob("*.toml")), DATA / "smalltalk.toml"]:
        for name, table in read_toml(path).items():
            if name in topics:
                raise DataError(f"{path.name}: the topic {name} stands twice")
            topics[name] = _topic(f"{path.name}: {name}", name, table)
    for topic in topics.values():
        for follow_up in topic.follow_ups:
            if follow_up.topic not in topics:
                raise DataError(f"{topic.name}: a follow-up leads to {follow_up.topic}, which is no topic")
    return topics


def _topic(where: str, name: str, table: dict[str, Any]) -> Topic:
    try:
        topic = Topic(
            name=name,
            questions={language: table[language] for language in LANGUAGES},
            answers={language: [text.strip() for text in table[f"answer_{language}"]] for language in LANGUAGES},
            facts={language: [re.compile(fact, re.IGNORECASE) for fact in table[f"fact_{language}"]]
                   for language in LANGUAGES},
            follow_ups=tuple(FollowUp({language: one[language] for language in LANGUAGES}, one["topic"])
                             for one in table.get("follow", ())),
        )  # fmt: skip
    except (KeyError, re.error) as error:
        raise DataError(f"{where}: {error!r}") from error
    for language in LANGUAGES:
        for answer in topic.answers[language]:
            if not topic.is_answered_by(answer, language):
                raise DataError(f"{where}: this answer lacks the topic's fact: {answer!r}")
    return topic
