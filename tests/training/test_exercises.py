"""What the guide practises: each exercise can be done from its question alone, and each batch is as intended."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import numpy as np
import pytest

from training.dialogues.dialogues import LAST_SHARES, Dialogues
from training.dialogues.roles import (
    CONTINUED,
    FIRST_NUMBER,
    LAST_NUMBER,
    NO_ROLE,
    NOT_COPIED,
    REPEATED,
    TOOL_ROLES,
    Marks,
    looks_for,
    marked_answer,
    marked_prompt,
    stands,
)
from training.dialogues.skills import Skills
from training.dialogues.tools import Tools
from training.dialogues.topics import DATA, LANGUAGES, read_toml
from training.encode import BUCKETS, batches, example
from training.language.spintax import draw
from training.schedule import FURTHER_MATRIX_RATE, STEPS, further, parts
from training.train import NOT_LEARNED, PLACES, learned_places, marked_places
from training.warm_up import counting_batches, role_batches

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


def test_of_a_call_without_its_tools_only_what_it_copies_is_learned(tokenizer: Any) -> None:
    batch = next(role_batches(Dialogues(), tokenizer, seed=7, examples=60))
    calls = 0
    for ids, learned in zip(batch.ids, batch.learned, strict=True):
        # A long answer is cut.
        call = re.search(r"assistant\n<tool_call>\n(.*)\n</tool_call>", tokenizer.decode(ids))
        if call:
            calls += 1
            values = json.loads(call[1])["arguments"].values()
            written = (json.dumps(value, ensure_ascii=False).strip('"') for value in values)
            told = "".join(re.escape(value) + r'"?(,|}}\n)' for value in written)
            assert re.fullmatch(told, tokenizer.decode(ids[learned]))
    assert calls > 20


def test_short_counts_are_learned_to_their_end(tokenizer: Any) -> None:
    batch = next(counting_batches(Dialogues(), tokenizer, seed=8, examples=40))
    for ids, learned in zip(batch.ids, batch.learned, strict=True):
        said = tokenizer.decode(ids[learned])
        numbers = [int(number) for number in said.removesuffix("<|im_end|>").split(", ")]
        assert said.endswith("<|im_end|>")
        assert {after - before for before, after in itertools.pairwise(numbers)} <= {1, -1}
        assert str(numbers[-1]) in tokenizer.decode(ids[~learned])


@pytest.mark.parametrize("steps", [1, 200, 203, STEPS])
def test_the_parts_take_all_the_steps(steps: int) -> None:
    assert sum(part.steps for part in parts(steps)) == steps
    assert all(part.steps >= 0 for part in parts(steps))


def test_further_training_rises_and_falls_to_nothing() -> None:
    part = further(200)
    rates = [part.rates_at(step)[0] for step in range(201)]
    assert 0.9 * FURTHER_MATRIX_RATE < max(rates) <= FURTHER_MATRIX_RATE
    assert rates[0] < rates[20] > rates[180] > rates[200] == 0


@pytest.fixture(scope="module")
def asked() -> list[tuple[str, Marks]]:
    """Questions as they are asked, of which no part is a part of another."""
    dialogues, rng = Dialogues(), random.Random(7)
    drawn = [dialogues.marked(rng.choice(LANGUAGES), rng) for _ in range(DRAWN)]
    return [
        (dialogue.messages[0]["content"], marks)
        for dialogue in drawn
        for marks in dialogue.marks
        if marks and all(one not in other for (one, _), (other, _) in itertools.permutations(marks.parts, 2))
    ]


def test_the_tokens_with_a_role_are_those_that_the_answer_copies(
    asked: list[tuple[str, Marks]], tokenizer: Any
) -> None:
    assert {FIRST_NUMBER, REPEATED, TOOL_ROLES} <= {min(marks.begins_with, TOOL_ROLES) for _, marks in asked}
    for question, marks in asked:
        ids, roles = marked_prompt(f"<|im_start|>user\n{question}<|im_end|>\n", marks, (), tokenizer)
        told = {stands(role) for role in (NOT_COPIED, CONTINUED, *(role for _, role in marks.parts))}
        assert set(roles[:-1]) <= told | {NO_ROLE}
        assert roles[-1] == looks_for(marks.begins_with)
        for part, role in marks.parts:
            if part == "1" and stands(role) not in roles:
                continue  # «Count to 7» does not name the start.
            own = marked_with(role, ids, roles, tokenizer)
            assert part in own
            assert len(own.strip()) <= len(part) + 2, "a token may reach over the part's end, by little"


def marked_with(role: int, ids: list[int], roles: list[int], tokenizer: Any) -> str:
    """The text of the tokens of a part."""
    first = roles.index(stands(role))
    rest = itertools.takewhile(lambda place: roles[place] == stands(CONTINUED), range(first + 1, len(ids)))
    text: str = tokenizer.decode([ids[place] for place in (first, *rest)])
    return text


def test_a_number_is_not_found_in_another(tokenizer: Any) -> None:
    question = "Up to 189, from 18"
    marks = Marks(question, (("18", FIRST_NUMBER), ("189", LAST_NUMBER)), FIRST_NUMBER)
    ids, roles = marked_prompt(f"{question}\n", marks, (), tokenizer)
    assert marked_with(LAST_NUMBER, ids, roles, tokenizer).strip() == "189"
    assert marked_with(FIRST_NUMBER, ids, roles, tokenizer).strip() == "18"


def test_a_call_has_each_role_where_the_argument_is_to_be_found_next(tokenizer: Any) -> None:
    tools, rng = Tools(invented_names=0.3), random.Random(8)
    for _ in range(DRAWN):
        case = tools.case(tools.offered(rng)[0], rng.choice(LANGUAGES), rng)
        arguments = json.dumps(case.arguments, ensure_ascii=False)
        ids, roles = marked_answer(f'{{"name": "{case.name}", "arguments": {arguments}}}', case.marks, tokenizer)
        for argument, role in ((case.name, case.marks.begins_with), *case.marks.parts):
            first = roles.index(looks_for(role)) + 1
            length = roles[first:].index(NO_ROLE) if NO_ROLE in roles[first:] else None
            assert tokenizer.decode(ids[first:][:length]).rstrip('"},') == argument


def test_an_offered_tool_has_its_role_at_its_name(tokenizer: Any) -> None:
    tools, rng = Tools(invented_names=0.3), random.Random(9)
    for _ in range(DRAWN):
        offered = tools.offered(rng)
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": "?"}], tools=[one.definition for one in offered], tokenize=False
        )
        ids, roles = marked_prompt(prompt, None, [one.roles for one in offered], tokenizer)
        for name, role in itertools.chain.from_iterable((one.roles.name, *one.roles.parameters) for one in offered):
            assert name in marked_with(role, ids, roles, tokenizer)


def test_a_call_leads_to_the_roles_that_stand_in_its_question(tokenizer: Any) -> None:
    """Whole dialogues: what is told of a call can be found before it."""
    dialogues, rng = Dialogues(LAST_SHARES), random.Random(10)
    called = 0
    for _ in range(DRAWN):
        dialogue = dialogues.draw(rng)
        assert len(dialogue.marks) == sum(message["role"] == "assistant" for message in dialogue.messages)
        if dialogue.enable_thinking or not any(marks and marks.called for marks in dialogue.marks):
            continue
        called += 1
        one = example(dialogue, dialogues.kinds[dialogue.kind], tokenizer, rng)
        for role in {role for marks in dialogue.marks if marks for _, role in marks.parts}:
            assert (one.roles == looks_for(role)).any(), "in the call"
            assert (one.roles == stands(role)).any(), "in the question"
    assert called
