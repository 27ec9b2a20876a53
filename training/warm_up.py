"""What the guide practises: copying tokens, telling what a question is about, and where a call's arguments stand in it.

All of it comes back in the dialogues, but there they hide behind everything else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from training.dialogues.dialogues import COPYING, COUNT, KOREAN_SHARE, Dialogues
from training.dialogues.roles import (
    CONTINUED,
    NO_ROLE,
    NOT_COPIED,
    REPEATED,
    is_looking,
    looks_for,
    marked_answer,
    marked_prompt,
    stands,
)
from training.encode import NO_KIND, Batch, Example, answer_text, padded
from training.language.noise import Language
from training.model.tokenizer import CONTROL_TOKENS, MARKUP_TOKENS, TURN_ENDS, spaced_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

COPY_TOKENS = (4, 20)
BEFORE_TOKENS = (0, 96)
SAME_SHARE = 0.15
"""Of the tokens before a text, those that are in it too: the text is to be copied, and not what looks like it."""
FEW_TOKENS, COMING_BACK_SHARE = 3, 0.2
QUESTION_MAX_TOKENS, ANSWER_MAX_TOKENS = 64, 48


def copying_batches(tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int) -> Iterator[Batch]:
    """Without an end: texts of random tokens, each to be repeated, as in «…: text», without the space before it."""
    without_space = dict(spaced_pairs(tokenizer))
    spaced = sorted(without_space)
    begins, colon, ends = (
        tokenizer.encode(part, add_special_tokens=False)
        for part in ("<|im_start|>user\n", ":", "<|im_end|>\n<|im_start|>assistant\n")
    )
    turn_ends: Any = tokenizer.convert_tokens_to_ids(TURN_ENDS)

    def copied(rng: random.Random) -> Example:
        before, text = (_random_tokens(tokenizer, lengths, rng) for lengths in (BEFORE_TOKENS, COPY_TOKENS))
        text[0] = rng.choice(spaced)
        before = [rng.choice(text) if rng.random() < SAME_SHARE else token for token in before]
        answer = [without_space[text[0]], *text[1:], turn_ends]
        roles = [
            *(NO_ROLE for _ in begins),
            *(stands(NOT_COPIED) for _ in before + colon),
            stands(REPEATED),
            *(stands(CONTINUED) for _ in text[1:]),
            *(NO_ROLE for _ in ends[1:]),
            looks_for(REPEATED),
            *(stands(CONTINUED) for _ in text),
            NO_ROLE,
        ]
        return _example([*begins, *before, *colon, *text, *ends], answer, roles)

    return _batches(copied, tokenizer, seed, examples)


def sorting_batches(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int
) -> Iterator[Batch]:
    """Without an end: questions, of which only the kind is to be learned."""
    return _batches(lambda rng: _question(dialogues, tokenizer, rng), tokenizer, seed, examples)


def role_batches(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int
) -> Iterator[Batch]:
    """Without an end: questions with words that the answer copies, and what it copies, without the tools.

    Tools are long. Without them, a token says four times as much of how questions are asked.
    """
    return _batches(lambda rng: _marked_question(dialogues, tokenizer, rng), tokenizer, seed, examples)


def counting_batches(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int
) -> Iterator[Batch]:
    """Without an end: short counts. Where a count ends is one token of hundreds in a long one, and here one of few."""
    return _batches(lambda rng: _short_count(dialogues, tokenizer, rng), tokenizer, seed, examples)


def _batches(
    draw: Callable[[random.Random], Example], tokenizer: PreTrainedTokenizerFast, seed: int, examples: int
) -> Iterator[Batch]:
    rng = random.Random(seed)
    while True:
        yield padded([draw(rng) for _ in range(examples)], tokenizer)


def _short_count(dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Example:
    while True:
        one = _marked_question(dialogues, tokenizer, rng, {COUNT: 1.0})
        if one.ids[-1] == tokenizer.convert_tokens_to_ids(TURN_ENDS):
            return one


def _random_tokens(tokenizer: PreTrainedTokenizerFast, lengths: tuple[int, int], rng: random.Random) -> list[int]:
    """One text in five is made of a few tokens that come back: which of them was it?"""
    first, length = len(CONTROL_TOKENS) + len(MARKUP_TOKENS), rng.randint(*lengths)
    known = [rng.randrange(first, len(tokenizer)) for _ in range(length)]
    if length > FEW_TOKENS and rng.random() < COMING_BACK_SHARE:
        return rng.choices(known[:FEW_TOKENS], k=length)
    return known


def _question(dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Example:
    """A short first question, without tools."""
    while True:
        dialogue = dialogues.draw(rng)
        is_first = sum(message["role"] == "user" for message in dialogue.messages) == 1
        if dialogue.tools or dialogue.enable_thinking or not is_first:
            continue
        prompt = tokenizer.apply_chat_template(dialogue.messages[:-1], add_generation_prompt=True, tokenize=False)
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        if len(ids) <= QUESTION_MAX_TOKENS:
            return _example(ids, [], kind=dialogues.kinds[dialogue.kind])


def _marked_question(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, rng: random.Random, shares: Mapping[str, float] = COPYING
) -> Example:
    """The answer, too, unless it is long: then its beginning."""
    language: Language = "ko" if rng.random() < KOREAN_SHARE else "en"
    dialogue = dialogues.marked(language, rng, shares)
    (asked, answer), (marks,) = dialogue.messages, dialogue.marks
    is_call = "tool_calls" in answer
    # As the template writes it where there are tools.
    content = "\n".join([asked["content"]] * (1 + is_call))
    prompt: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    ids, roles = marked_prompt(prompt, marks, (), tokenizer)
    said, its_roles = marked_answer(answer_text(answer) + TURN_ENDS, marks, tokenizer)
    learned = _copied(its_roles) if is_call else [True] * len(said)
    end = ANSWER_MAX_TOKENS
    return _example(ids, said[:end], [*roles, *its_roles[:end]], dialogues.kinds[dialogue.kind], learned[:end])


def _copied(roles: list[int]) -> list[bool]:
    """Of a call's tokens, its arguments and what ends each. The names stand in the definitions, which are not there."""
    looking = [at for at, role in enumerate(roles) if is_looking(role)]
    # At the first of them it looks for the tool's name.
    first = looking[1] if looking[1:] else len(roles)
    return [at > first and roles[at - 1] != NO_ROLE for at in range(len(roles))]


def _example(
    prompt: list[int],
    answer: list[int],
    roles: list[int] | None = None,
    kind: int = NO_KIND,
    learned_of_answer: list[bool] | None = None,
) -> Example:
    """Unless it is said, all of the answer is learned, and no token has a role."""
    ids = np.array(prompt + answer)
    learned = np.zeros(len(ids), np.bool_)
    learned[len(prompt) :] = True if learned_of_answer is None else learned_of_answer
    marks = np.full(len(ids), NO_ROLE) if roles is None else np.array(roles)
    return Example(ids, learned, marks, asked=len(prompt) - 1, kind=kind)
