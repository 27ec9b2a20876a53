"""What the guide is taught is true of this project, and what it is asked in its evaluation it was not taught."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.config.options import OPTIONS, variable_name
from app.openapi.document import openapi_document
from tests.test_docs import FLAG, MAKE, VARIABLE, our_flags
from training.dialogues.topics import DATA, HELD_OUT, LANGUAGES, Topic, read_toml, read_topics
from training.further import latest_dialogues, mix
from training.language.spintax import normalised, pattern

ROOT = Path(__file__).parents[2]
TOPICS = read_topics()

ROUTE = re.compile(r"(?<![\w.:/-])/(?:v1/[\w/{}.-]+|health|livez|metrics|version|docs|openapi\.json)(?![\w/])")
FILE = re.compile(r"\b(?:app|docs|engine|protocol|static|tests|training|deploy|bench|requirements)/[\w./-]+")
HOST = re.compile(r"\b(?:https?|wss?)://([\w.-]+)")

FOREIGN_FLAGS = frozenset({"--http2", "--insecure", "--bind", "--upgrade", "--cacert", "--http2-prior-knowledge"})
"""Flags of curl, pip and hypercorn that answers use."""
FOREIGN_ROUTES = frozenset({"/v1/assistants"})
"""Routes that answers name as not there."""


def answers(topic: Topic) -> Iterator[str]:
    for language in LANGUAGES:
        yield from topic.answers[language]


def named(expression: re.Pattern[str], topic: Topic) -> set[str]:
    return {found.rstrip(".") for answer in answers(topic) for found in expression.findall(answer)}


@cache
def routes() -> list[re.Pattern[str]]:
    document = openapi_document(version="1", model="guide", keys_required=False, public_metrics=True)
    return [re.compile(re.sub(r"\{\w+\}", r"[^/]+", path)) for path in document["paths"]]


@pytest.fixture(params=TOPICS.values(), ids=lambda topic: topic.name)
def topic(request: pytest.FixtureRequest) -> Topic:
    found: Topic = request.param
    return found


def test_options_exist(topic: Topic) -> None:
    assert named(FLAG, topic) - FOREIGN_FLAGS <= our_flags()


def test_variables_exist(topic: Topic) -> None:
    assert named(VARIABLE, topic) <= {variable_name(name) for name in OPTIONS}


def test_routes_exist(topic: Topic) -> None:
    unknown = {route for route in named(ROUTE, topic) if not any(known.fullmatch(route) for known in routes())}
    assert unknown <= FOREIGN_ROUTES


def test_commands_exist(topic: Topic) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    code = re.compile(r"`(make[^`]*)`|^(make .*)$", re.MULTILINE)
    spans = ["".join(span) for answer in answers(topic) for span in code.findall(answer)]
    asked = {words.split()[0] for span in spans for words in MAKE.findall(span) if words.strip()}
    assert {target for target in asked if target.islower()} <= targets


def test_files_exist(topic: Topic) -> None:
    assert not {name for name in named(FILE, topic) if not (ROOT / name).exists()}


def test_no_foreign_host_is_named(topic: Topic) -> None:
    assert named(HOST, topic) <= {"127.0.0.1", "localhost", "example.com", "chat.example.com", "0.0.0.0"}


def test_every_answer_has_its_fact_and_every_question_is_wellformed(topic: Topic) -> None:
    for language in LANGUAGES:
        assert topic.facts[language]
        assert len(topic.questions[language]) >= 8
        for question in topic.questions[language]:
            pattern(question)


def held_out() -> Iterator[tuple[str, dict[str, Any]]]:
    questions = [(name, "question") for name in ("topics", "newcomer", "expert", "unknown")]
    for name, key in (*questions, ("dialogues", "dialogue"), ("tools", "case")):
        for entry in read_toml(HELD_OUT / f"{name}.toml")[key]:
            yield name, entry


def held_out_texts() -> Iterator[str]:
    for _, entry in held_out():
        yield from (turn["text"] for turn in entry.get("turns", ()))
        if "text" in entry:
            yield entry["text"]


def taught() -> Iterator[re.Pattern[str]]:
    for topic in TOPICS.values():
        for language in LANGUAGES:
            yield from map(pattern, topic.questions[language])
            for follow_up in topic.follow_ups:
                yield from map(pattern, follow_up.questions[language])
    unknown = read_toml(DATA / "unknown.toml")
    for language in LANGUAGES:
        words = {name[3:]: words for name, words in unknown["lists"].items() if name.startswith(language)}
        yield from (pattern(question, words) for question in unknown[language]["ask"])


def test_held_out_questions_are_not_taught() -> None:
    # A short elliptical follow-up ("and on a GPU?") has few other wordings, so it is not counted as a copy.
    asked = {normalised(text): text for text in held_out_texts() if len(normalised(text)) > 14}
    patterns = list(taught())
    copied = [text for key, text in asked.items() if any(one.fullmatch(key) for one in patterns)]
    assert not copied


def test_held_out_questions_ask_for_topics_that_exist() -> None:
    turns = [turn for _, entry in held_out() for turn in entry.get("turns", [entry])]
    assert {turn["topic"] for turn in turns if "topic" in turn} <= TOPICS.keys()


def test_there_are_enough_held_out_questions() -> None:
    languages = [entry["lang"] for name, entry in held_out() if name == "topics"]
    assert languages.count("en") >= 150
    assert languages.count("ko") >= 75


def test_the_latest_topics_exist_and_stand_once() -> None:
    latest = read_toml(DATA / "latest.toml")
    names = [*latest["new"], *latest["changed"]]
    assert set(names) <= TOPICS.keys()
    assert len(names) == len(set(names))


def test_further_training_draws_the_latest_topics_more_often() -> None:
    dialogues, rng = latest_dialogues(), random.Random(1)
    drawn = Counter(dialogues.draw(rng).kind for _ in range(3000))
    assert drawn["data-parallel"] > 2 * drawn["dtype"]
    assert {"count", "repeat", "unknown"} <= drawn.keys()


def test_a_mean_of_weights_has_both_shares() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model, source = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    model.weight.data.fill_(4.0)
    source.weight.data.fill_(0.0)
    mix(model, source, 0.75)
    assert model.weight.tolist() == [[3.0, 3.0]]
