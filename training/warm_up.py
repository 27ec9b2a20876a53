"""What the guide practises: copying tokens, telling what a question is about, and where a call's arguments stand in it.

Does not know the answers. All of it comes back in the dialogues, but there they hide behind everything else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from training.dialogues import KOREAN_SHARE, Dialogues
from training.encode import NO_KIND, Batch, Example, padded
from training.noise import Language
from training.roles import NO_ROLE, NOT_COPIED, REPEATED, marked_prompt
from training.tokenizer import CONTROL_TOKENS, MARKUP_TOKENS, TURN_ENDS, spaced_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

COPY_TOKENS = (4, 20)
BEFORE_TOKENS = (0, 96)
SAME_SHARE = 0.15
"""Of the tokens before a text, those that are in it too: the text is to be copied, and not what looks like it."""
FEW_TOKENS, COMING_BACK_SHARE = 3, 0.2
QUESTION_MAX_TOKENS = 64


def copying_batches(tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int) -> Iterator[Batch]:
    """Without an end: texts of random tokens, each to be repeated, as in «…: text», without the space before it."""
    rng = random.Random(seed)
    without_space = dict(spaced_pairs(tokenizer))
    spaced = sorted(without_space)
    begins, colon, ends = (
        tokenizer.encode(part, add_special_tokens=False)
        for part in ("<|im_start|>user\n", ":", "<|im_end|>\n<|im_start|>assistant\n")
    )
    turn_ends: Any = tokenizer.convert_tokens_to_ids(TURN_ENDS)
    while True:
        made: list[Example] = []
        for _ in range(examples):
            before, text = (_random_tokens(tokenizer, lengths, rng) for lengths in (BEFORE_TOKENS, COPY_TOKENS))
            text[0] = rng.choice(spaced)
            before = [rng.choice(text) if rng.random() < SAME_SHARE else token for token in before]
            answer = [without_space[text[0]], *text[1:], turn_ends]
            roles = [
                *(NO_ROLE for _ in begins),
                *(NOT_COPIED for _ in before + colon),
                *(REPEATED for _ in text),
                *(NO_ROLE for _ in ends[1:]),
                # One place earlier: there the next token of the text is to be found.
                *(REPEATED for _ in answer),
                NO_ROLE,
            ]
            made.append(_example([*begins, *before, *colon, *text, *ends], answer, roles))
        yield padded(made, tokenizer)


def sorting_batches(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int
) -> Iterator[Batch]:
    """Without an end: questions, of which only the kind is to be learned."""
    rng = random.Random(seed)
    while True:
        yield padded([_question(dialogues, tokenizer, rng) for _ in range(examples)], tokenizer)


def role_batches(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, *, seed: int, examples: int
) -> Iterator[Batch]:
    """Without an end: questions with words that the answer copies, without tools, of which roles are to be learned.

    Tools are long. Without them, a token says four times as much of how questions are asked.
    """
    rng = random.Random(seed)
    while True:
        yield padded([_marked_question(dialogues, tokenizer, rng) for _ in range(examples)], tokenizer)


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


def _marked_question(dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Example:
    language: Language = "ko" if rng.random() < KOREAN_SHARE else "en"
    question, kind, marks = dialogues.marked(language, rng)
    prompt: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, tokenize=False
    )
    ids, roles = marked_prompt(prompt, marks, (), tokenizer)
    return _example(ids, [], roles, dialogues.kinds[kind])


def _example(prompt: list[int], answer: list[int], roles: list[int] | None = None, kind: int = NO_KIND) -> Example:
    ids = np.array(prompt + answer)
    learned = np.arange(len(ids)) >= len(prompt)
    marks = np.full(len(ids), NO_ROLE) if roles is None else np.array(roles)
    return Example(ids, learned, marks, asked=len(prompt) - 1, kind=kind)
