"""Makes the guide from scratch: the tokenizer, then the weights; `make guide` runs it."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.dialogues.dialogues import LAST_SHARES, Dialogues
from training.dialogues.roles import NO_ROLE, TOOL_ROLES
from training.encode import NO_KIND, Batch, answer_text, batches
from training.model.initial import HALF, make_model
from training.model.student import Student
from training.model.tokenizer import END_OF_TEXT, TURN_ENDS, train_tokenizer
from training.model.words import word_vectors
from training.schedule import STEPS, Part, parts
from training.warm_up import copying_batches, counting_batches, role_batches, sorting_batches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEED = 7
WORDS_SEED, COPIES_SEED, QUESTIONS_SEED, ROLES_SEED, COUNTS_SEED, BATCHES_SEED = 3, 6, 9, 20, 78, 100
PRACTICE_SEEDS, TALK_SEEDS, LAST_SEEDS, AGAIN_SEEDS = -1, 0, 10, 20
"""What is added to the seeds in each part."""
TOKENIZER_DIALOGUES = 40_000
DIALOGUES_AT_ONCE = 8000
# A batch holds dialogues of one length, and lengths tell exercises from talk: two of them make a step less one-sided.
BATCH_TOKENS, BATCHES_PER_STEP = 4096, 2
# What a step practises, when it does nothing else and later: how many copies, questions, questions with roles and short
# counts, and the share of a batch that each counts. Later, not each step does.
PRACTICE = ((64, 1.0), (128, 1.0), (64, 1.0), (48, 1.0))
BESIDE = ((16, 0.2), (48, 0.5), (96, 0.5), (24, 0.2))
PRACTISED_EVERY = 3
MEAN_SHARES = (0.15, 0.4, 0.45)
"""Of the weights after the dialogues and after each of the last two parts in what is kept."""
WEIGHT_DECAY = 0.05
PLACES, NOT_LEARNED = 256, -100


def tokenizer_texts(dialogues: Dialogues) -> Iterator[str]:
    rng = random.Random(SEED)
    for _ in range(TOKENIZER_DIALOGUES):
        dialogue = dialogues.draw(rng)
        yield from (
            answer_text(message) if message["role"] == "assistant" else message["content"]
            for message in dialogue.messages
        )
        for tool in dialogue.tools or ():
            yield json.dumps(tool["function"], ensure_ascii=False)


def make_optimizers(student: Student) -> list[Any]:
    """Muon for the layers' matrices, which then learn about twice as much a step; Adam for the rest."""
    import torch

    matrices = [weight for weight in student.model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in student.parameters() if id(weight) not in chosen]
    return [
        torch.optim.Muon(matrices, momentum=0.95, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Losses(NamedTuple):
    """Means, in nats."""

    text: float
    sorting: float
    roles: float


def learn(student: Student, batch: Batch, share: float = 1.0) -> Losses:
    """Adds a share of one batch's gradients; returns the mean loss of its learned tokens, of sorting and of roles.

    Beside the next token the model learns what each question is about, and where a call's arguments stand in it.
    Without that, the answers are known by heart long before the questions are understood. A batch that has nothing to
    learn of one of them gives 0 for it.
    """
    import torch
    from torch.nn.functional import cross_entropy

    def tensor(array: NDArray[np.int64]) -> Any:
        return torch.from_numpy(array).to(student.device)

    ids, rows, columns, labels, asked, kinds = map(
        tensor, (batch.ids, *learned_places(batch), batch.asked, batch.kinds)
    )
    marked_rows, marked_columns, roles = map(tensor, marked_places(batch))
    none = torch.zeros((), device=student.device)
    with torch.autocast(student.device.type, dtype=torch.bfloat16):
        middle, last, hidden = student.hidden_states(ids)
        # The vocabulary is a third of the work, so it is only asked where something is learned.
        logits = student.model.lm_head(hidden[rows, columns])
        sorted_as = student.sorter(last[torch.arange(len(ids), device=student.device), asked])
        tagged = student.tagged(middle[marked_rows, marked_columns])
    losses = (
        cross_entropy(logits.float(), labels, ignore_index=NOT_LEARNED) if batch.learned.any() else none,
        cross_entropy(sorted_as.float(), kinds) if (batch.kinds != NO_KIND).all() else none,
        cross_entropy(tagged.float(), roles, ignore_index=NOT_LEARNED) if (batch.roles != NO_ROLE).any() else none,
    )
    (share * sum(losses)).backward()
    return Losses(*(float(loss.detach()) for loss in losses))


def learned_places(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns before the tokens that are learned, and those tokens; all of the shape (places,).

    Filled up to a multiple of `PLACES`, for each count of them costs a kernel of its own.
    """
    rows, columns = batch.learned[:, 1:].nonzero()
    return _filled(rows, columns, batch.ids[rows, columns + 1])


def marked_places(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns of the tokens that have a role, and the roles; filled up alike."""
    rows, columns = (batch.roles != NO_ROLE).nonzero()
    return _filled(rows, columns, batch.roles[rows, columns])


def _filled(
    rows: NDArray[np.int64], columns: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    fill = (0, -len(rows) % PLACES)
    return np.pad(rows, fill), np.pad(columns, fill), np.pad(labels, fill, constant_values=NOT_LEARNED)


Learned = Iterator[tuple[int, Losses]]
"""Adds the gradients of one step after another; gives its tokens and the losses of its first batch."""


Beside = Sequence[tuple[Iterator[Batch], float]]
"""What is practised, and the share that each counts."""


def practice_steps(student: Student, beside: Beside) -> Learned:
    while True:
        learned = [(next(practice), share) for practice, share in beside]
        losses = [learn(student, batch, share) for batch, share in learned]
        yield sum(batch.ids.size for batch, _ in learned), Losses(*map(sum, zip(*losses, strict=True)))


def dialogue_steps(student: Student, answers: Iterator[Batch], beside: Beside) -> Learned:
    """Now and then a step goes on practising, lest it forget: what stands `beside`, with the share that it counts."""
    for step in itertools.count():
        learned = [(next(answers), 1 / BATCHES_PER_STEP) for _ in range(BATCHES_PER_STEP)]
        if step % PRACTISED_EVERY == 0:
            learned += [(next(practice), share) for practice, share in beside]
        losses = [learn(student, batch, share) for batch, share in learned]
        yield sum(batch.ids.size for batch, _ in learned), losses[0]


def train(
    student: Student,
    learned: Learned,
    part: Part,
    optimizers: list[Any] | None = None,
    *,
    minutes: float = math.inf,
    after_step: Callable[[int], None] = lambda _: None,
) -> None:
    """Take a part's steps, or as many as fit into the minutes.

    Its optimizers are its own: the momentum of the part before leads elsewhere.
    """
    import torch

    optimizers = optimizers or make_optimizers(student)
    started, seen = time.monotonic(), 0
    for step, (tokens, losses) in enumerate(itertools.islice(learned, part.steps)):
        passed = (time.monotonic() - started) / 60 / minutes
        if passed >= 1:
            break
        torch.nn.utils.clip_grad_norm_(student.model.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, part.rates_at(max(step, passed * part.steps)), strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        seen += tokens
        if step % 20 == 19 or step == part.steps - 1:
            spent = time.monotonic() - started
            named = ", ".join(f"{name} {loss:.3f}" for name, loss in losses._asdict().items())
            print(f"step {step + 1}/{part.steps}, {named}, {seen / spent:.0f} tokens/s, {spent:.0f} s", flush=True)
        after_step(step + 1)


def learn_all(student: Student, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues, steps: int) -> None:
    """Practice, then the dialogues, and at last, twice, those that are hard.

    The weights become a mean of those after each part but the first. The last parts give to calls what they take from
    telling topics apart, and a mean takes less than it gives.
    """
    import torch

    practice, talk, last, again = parts(steps)
    train(student, first_steps(student, tokenizer, dialogues), practice)
    hard = Dialogues(LAST_SHARES)
    rest = ((talk, dialogues, TALK_SEEDS), (last, hard, LAST_SEEDS), (again, hard, AGAIN_SEEDS))
    weights = list(student.model.parameters())
    means = [torch.zeros_like(weight) for weight in weights]
    for (part, drawn, seeds), share in zip(rest, MEAN_SHARES, strict=True):
        train(student, talk_steps(student, tokenizer, drawn, seeds), part)
        for mean, weight in zip(means, weights, strict=True):
            mean.add_(weight.detach(), alpha=share)
    with torch.no_grad():
        for weight, mean in zip(weights, means, strict=True):
            weight.copy_(mean)


def first_steps(student: Student, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues) -> Learned:
    """The steps of the part that only practises. What it does not begin to see, the dialogues hardly teach later."""
    return practice_steps(student, practised(PRACTICE, tokenizer, dialogues, PRACTICE_SEEDS))


def talk_steps(
    student: Student,
    tokenizer: PreTrainedTokenizerFast,
    dialogues: Dialogues,
    seeds: int,
    *,
    beside: Sequence[tuple[int, float]] = BESIDE,
    batch_tokens: int = BATCH_TOKENS,
) -> Learned:
    """The steps of a part that learns dialogues; `seeds` is added to all of its seeds."""
    answers = batches(
        dialogues, tokenizer, seed=BATCHES_SEED + seeds, drawn=DIALOGUES_AT_ONCE, batch_tokens=batch_tokens
    )
    return dialogue_steps(student, answers, practised(beside, tokenizer, dialogues, seeds))


def practised(
    how: Sequence[tuple[int, float]], tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues, seeds: int
) -> Beside:
    """`how` is `PRACTICE` or `BESIDE`."""
    (copies, questions, roles, counts), shares = zip(*how, strict=True)
    batches_of_each = (
        copying_batches(tokenizer, seed=COPIES_SEED + seeds, examples=copies),
        sorting_batches(dialogues, tokenizer, seed=QUESTIONS_SEED + seeds, examples=questions),
        role_batches(dialogues, tokenizer, seed=ROLES_SEED + seeds, examples=roles),
        counting_batches(dialogues, tokenizer, seed=COUNTS_SEED + seeds, examples=counts),
    )
    return list(zip(batches_of_each, shares, strict=True))


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a folder as transformers and vLLM read it, the weights in bfloat16."""
    import torch
    from transformers import GenerationConfig

    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ends, pad = tokenizer.convert_tokens_to_ids([TURN_ENDS, END_OF_TEXT])
    GenerationConfig(eos_token_id=ends, pad_token_id=pad, do_sample=True, temperature=0.3).save_pretrained(folder)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m training.train", description="Make the guide from scratch.")
    parser.add_argument("folder", type=Path, help="where the model is written")
    parser.add_argument("--steps", type=int, default=STEPS, help="%(default)s by default; fewer for a quick look")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    dialogues = Dialogues()
    tokenizer = train_tokenizer(tokenizer_texts(dialogues))
    print(f"tokenizer: {len(tokenizer)} tokens", flush=True)
    vectors, kinds = word_vectors(dialogues, tokenizer, HALF, WORDS_SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(tokenizer, vectors).to(device)
    print(f"model: {sum(weight.numel() for weight in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    student = Student(model, kinds, TOOL_ROLES + len(dialogues.tools.roles))
    if shutil.which("c++"):
        student.compile()
    learn_all(student, tokenizer, dialogues, arguments.steps)
    save(model, tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
