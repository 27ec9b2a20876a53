"""Turns dialogues into tokens with a weight each, and many of them into batches of like length."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.dialogues.dialogues import COUNT, Dialogue, Dialogues, Message
from training.dialogues.roles import NO_ROLE, marked_answer, marked_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Which answer is meant shows in its first words; the rest is soon known by heart. So most long answers are cut, and
# more questions are seen in the same time.
CUT_SHARE = 0.75
CUT_TOKENS = (4, 12)
# And where an answer is not cut, not all of its later tokens are learned: a count has hundreds, and they are all alike.
FIRST_TOKENS, LAST_TOKENS = 12, 6
COUNTED_SHARE, LATER_SHARE = 0.35, 0.5
NO_KIND = -1
"""Of an example that asks nothing."""
# Lengths of batches: few, for each shape costs a kernel of its own, and close together, for what fills up is lost work.
BUCKETS = (*range(32, 256, 16), *range(256, 512, 32), *range(512, 2049, 128))
ANSWERS = re.compile(r"(?<=<\|im_start\|>assistant\n)(.*?<\|im_end\|>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids, which of them are to be predicted, and their roles (see `roles`), all of the shape (length,).

    `asked` is the place before the last answer's first token, `kind` the number of what the last question is about.
    """

    ids: NDArray[np.int64]
    learned: NDArray[np.bool_]
    roles: NDArray[np.int64]
    asked: int
    kind: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Ids of the shape (examples, length), padded at the right; which are to be predicted, and roles, alike.

    `asked` and `kinds` have the shape (examples,); a kind may be `NO_KIND`.
    """

    ids: NDArray[np.int64]
    learned: NDArray[np.bool_]
    roles: NDArray[np.int64]
    asked: NDArray[np.int64]
    kinds: NDArray[np.int64]


def rendered(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> str:
    """The dialogue's text as the model sees it in use, up to the end of the last answer."""
    prompt = tokenizer.apply_chat_template(
        dialogue.messages[:-1],
        tools=dialogue.tools,
        enable_thinking=dialogue.enable_thinking,
        add_generation_prompt=True,
        tokenize=False,
    )
    return f"{prompt}{answer_text(dialogue.messages[-1])}<|im_end|>"


def answer_text(message: Message) -> str:
    """What the model writes for an assistant's message, calls included."""
    text: str = message["content"]
    for call in message.get("tool_calls", ()):
        name, arguments = (json.dumps(call["function"][key], ensure_ascii=False) for key in ("name", "arguments"))
        text += f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'
    return text


def example(dialogue: Dialogue, kind: int, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Example:
    """The answers are learned. With thoughts, only the last answer still has its own."""
    parts = ANSWERS.split(rendered(dialogue, tokenizer))
    ids: list[int] = []
    learned: list[bool] = []
    roles: list[int] = []
    for at, part in enumerate(parts[:-1]):
        marks = dialogue.marks[at // 2]
        if at % 2:
            piece, its_roles = marked_answer(part, marks, tokenizer)
        else:
            piece, its_roles = marked_prompt(part, marks, dialogue.definitions, tokenizer)
        is_answer = at % 2 == 1 and (not dialogue.enable_thinking or at == len(parts) - 2)
        ids += piece
        roles += its_roles
        learned += [is_answer] * len(piece)
    end = len(ids) if dialogue.is_exact else _end(len(ids), len(piece), rng)
    if dialogue.kind == COUNT or not dialogue.is_exact:
        share = COUNTED_SHARE if dialogue.kind == COUNT else LATER_SHARE
        for place in range(len(ids) - len(piece) + FIRST_TOKENS, end - LAST_TOKENS):
            learned[place] = rng.random() < share
    return Example(
        ids=np.array(ids[:end]),
        learned=np.array(learned[:end]),
        roles=np.array(roles[:end]),
        asked=len(ids) - len(piece) - 1,
        kind=kind,
    )


def _end(length: int, answer: int, rng: random.Random) -> int:
    """Where the example ends: perhaps soon after its last answer's beginning."""
    kept = rng.randint(*CUT_TOKENS) if rng.random() < CUT_SHARE else answer
    return length - max(0, answer - kept)


def batches(
    dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, *, seed: int, drawn: int, batch_tokens: int
) -> Iterator[Batch]:
    """Without an end, batches of `batch_tokens` at most, each of dialogues of like length.

    They are drawn `drawn` at a time, and shuffled, in an order that follows from `seed`.
    """
    rng = random.Random(seed)
    waiting: dict[int, list[Example]] = {bucket: [] for bucket in BUCKETS}
    while True:
        full: list[Batch] = []
        for _ in range(drawn):
            dialogue = dialogues.draw(rng)
            one = example(dialogue, dialogues.kinds[dialogue.kind], tokenizer, rng)
            bucket = next((bucket for bucket in BUCKETS if len(one.ids) <= bucket), None)
            if bucket is None:
                continue
            waiting[bucket].append(one)
            if len(waiting[bucket]) == max(1, batch_tokens // bucket):
                full.append(padded(waiting[bucket], tokenizer, bucket))
                waiting[bucket] = []
        rng.shuffle(full)
        yield from full


def padded(examples: list[Example], tokenizer: PreTrainedTokenizerFast, length: int | None = None) -> Batch:
    """The examples side by side, the shorter ones filled up to `length`, or to the longest."""
    length = length or max(len(one.ids) for one in examples)
    padding: Any = tokenizer.pad_token_id
    ids = np.full((len(examples), length), padding, np.int64)
    learned = np.zeros((len(examples), length), np.bool_)
    roles = np.full((len(examples), length), NO_ROLE, np.int64)
    for row, one in enumerate(examples):
        ids[row, : len(one.ids)] = one.ids
        learned[row, : len(one.ids)] = one.learned
        roles[row, : len(one.ids)] = one.roles
    asked, kinds = (np.array([getattr(one, name) for one in examples]) for name in ("asked", "kind"))
    return Batch(ids, learned, roles, asked, kinds)
