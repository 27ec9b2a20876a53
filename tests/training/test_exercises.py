"""What the guide practises: every exercise can be done from its question alone, and every batch is what it should be.

Does not know the weights.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import Any

import numpy as np
import pytest

from training.dialogues import Dialogues
from training.encode import BUCKETS, batches
from training.skills import Skills
from training.spintax import draw
from training.topics import DATA, LANGUAGES, read_toml
from training.train import NOT_LEARNED, PLACES, learned_places

TOOLS: list[dict[str, Any]] = read_toml(DATA / "tools.toml")["tool"]
DRAWN = 400


@pytest.fixture(scope="module")
def skills() -> Skills:
    return Skills()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_count_names_where_it_begins_and_ends(skills: Skills, language: Any) -> None:
    rng = random.Random(1)
    for _ in range(DRAWN):
        exchange = skills.count(language, rng)
        numbers = exchange.answer.split(", ")
        asked = re.findall(r"\d+", exchange.question)
        assert numbers[-1] in asked
        assert numbers[0] in asked or numbers[0] == "1"
        assert not re.search(r"[{}|]", exchange.question)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_to_be_repeated_stands_in_the_question(skills: Skills, language: Any) -> None:
    rng = random.Random(2)
    for _ in range(DRAWN):
        exchange = skills.repeat(language, rng)
        assert exchange.answer in exchange.question
        assert not re.search(r"[{}|]", exchange.question)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool["id"])
def test_a_question_for_a_tool_holds_every_argument(tool: dict[str, Any]) -> None:
    rng = random.Random(3)
    for language in LANGUAGES:
        for pattern in tool[f"ask_{language}"]:
            for question in {draw(pattern, rng) for _ in range(4)}:
                slots = set(re.findall(r"\{(\d+)(?::\w+)?\}", question))
                assert slots == {str(at) for at in range(len(tool["parameters"]))}, question


def test_tools_and_their_parameters_have_names_of_their_own() -> None:
    for tool in TOOLS:
        options = [parameter["name_options"] for parameter in tool["parameters"]]
        for one, other in itertools.combinations(options, 2):
            assert not set(one) & set(other), tool["id"]


def test_batches_have_few_shapes_and_something_to_learn_in_each_row(tokenizer: Any) -> None:
    tokens = 2048
    found = list(itertools.islice(batches(Dialogues(), tokenizer, seed=4, drawn=600, batch_tokens=tokens), 30))
    for batch in found:
        examples, length = batch.ids.shape
        assert length in BUCKETS
        assert examples == max(1, tokens // length)
        assert batch.learned.any(axis=1).all(), "every dialogue has something to learn"
        assert (batch.asked < length).all()


def test_the_places_that_are_learned_are_filled_up_and_the_filling_is_not_learned(tokenizer: Any) -> None:
    batch = next(batches(Dialogues(), tokenizer, seed=5, drawn=600, batch_tokens=2048))
    rows, columns, labels = learned_places(batch)
    assert len(rows) == len(columns) == len(labels)
    assert len(labels) % PLACES == 0
    is_learned = labels != NOT_LEARNED
    assert is_learned.sum() == batch.learned[:, 1:].sum()
    assert np.array_equal(labels[is_learned], batch.ids[:, 1:][batch.learned[:, 1:]])
    assert batch.learned[rows[is_learned], columns[is_learned] + 1].all()
