"""What the guide practises: every exercise can be done from its question alone, and every batch is what it should be.

Does not know the weights.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from training.dialogues import LAST_SHARES, Dialogues
from training.encode import BUCKETS, batches
from training.noise import framed
from training.roles import NO_ARGUMENT, NO_ROLE, marked
from training.skills import Skills
from training.spintax import draw
from training.tools import Case, Tools
from training.topics import DATA, LANGUAGES, read_toml
from training.train import NOT_LEARNED, PLACES, learned_places, marked_places
from training.warm_up import role_batches

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


def test_the_places_that_have_a_role_are_filled_up_alike(tokenizer: Any) -> None:
    batch = next(role_batches(Dialogues(LAST_SHARES), tokenizer, seed=6, examples=20))
    rows, columns, roles = marked_places(batch)
    assert len(roles) % PLACES == 0
    is_told = roles != NOT_LEARNED
    assert is_told.sum() == (batch.roles != NO_ROLE).sum()
    assert np.array_equal(roles[is_told], batch.roles[rows[is_told], columns[is_told]])
    assert not batch.learned.any(), "questions alone have no answer to learn"


def drawn_cases(seed: int) -> Iterator[tuple[Case, str]]:
    """Cases of which no argument is a part of another, and their questions as they are asked."""
    tools, rng = Tools(invented_names=0.3), random.Random(seed)
    for _ in range(DRAWN):
        language = rng.choice(LANGUAGES)
        case = tools.case(tools.offered(rng)[0], language, rng)
        values = [str(value) for value in case.arguments.values()]
        if all(one not in other for one, other in itertools.permutations(values, 2)):
            yield case, framed(case.question, language, rng)


def test_the_tokens_with_a_role_are_those_of_the_argument(tokenizer: Any) -> None:
    for case, question in drawn_cases(7):
        ids, roles = marked(f"<|im_start|>user\n{question}<|im_end|>", case, tokenizer)
        assert set(roles) <= {NO_ROLE, NO_ARGUMENT, *case.roles}
        for role, argument in zip(case.roles, case.arguments.values(), strict=True):
            own = tokenizer.decode([one for one, its in zip(ids, roles, strict=True) if its == role])
            assert str(argument) in own
            assert len(own.strip()) <= len(str(argument)) + 2, "a token may reach over the argument's end, by little"


def test_a_call_has_each_role_where_the_argument_is_to_be_found_next(tokenizer: Any) -> None:
    for case, _ in drawn_cases(8):
        arguments = json.dumps(case.arguments, ensure_ascii=False)
        ids, roles = marked(f'{{"name": "{case.name}", "arguments": {arguments}}}', case, tokenizer)
        for role, argument in zip(case.roles, case.arguments.values(), strict=True):
            at = roles.index(role)
            assert roles.count(role) == 1
            assert tokenizer.decode(ids[at + 1 :]).startswith(str(argument))


def test_roles_are_told_in_the_last_part_alone(tokenizer: Any) -> None:
    for shares, are_told in ((Dialogues(), False), (Dialogues(LAST_SHARES), True)):
        found = itertools.islice(batches(shares, tokenizer, seed=9, drawn=600, batch_tokens=2048), 30)
        assert any((batch.roles != NO_ROLE).any() for batch in found) == are_told
