"""Makes the guide from scratch: the tokenizer, then the weights; `make guide` runs it.

Does not know what the guide is taught (`training.dialogues`) or how well it does (`training.evaluate`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.dialogues import LAST_SHARES, Dialogues
from training.encode import NO_KIND, Batch, answer_text, batches
from training.initial import HALF, make_model
from training.tokenizer import END_OF_TEXT, TURN_ENDS, train_tokenizer
from training.warm_up import copying_batches, sorting_batches
from training.words import word_vectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEED = 7
WORDS_SEED, COPIES_SEED, QUESTIONS_SEED, BATCHES_SEED = 3, 5, 8, 100
LAST_SEEDS = 10
"""What is added to the seeds for the last part."""
STEPS = 4000
TOKENIZER_DIALOGUES = 40_000
DIALOGUES_AT_ONCE = 8000
# A batch holds dialogues of one length, and lengths tell exercises from talk: two of them make a step less one-sided.
BATCH_TOKENS, BATCHES_PER_STEP = 4096, 2
# The steps that only practise, and what a step practises, then and later. Later it counts as a share of a batch, and
# not each step does.
PRACTICE_STEPS, PRACTICE_COPIES, PRACTICE_QUESTIONS = 150, 64, 128
COPIES, COPIES_SHARE = 10, 0.2
QUESTIONS, QUESTIONS_SHARE = 32, 0.5
PRACTISED_EVERY = 3
RISE_STEPS = 20
FALL_SHARE = 0.85
"""The last part of the steps, in which the rates fall to nothing."""
# Practice has few ways to go wrong. Beside the dialogues, so fast a step would tread down what was practised.
PRACTICE_MATRIX_RATE, MATRIX_RATE = 0.02, 0.009
OTHER_RATE = 2e-3
# The last part begins anew with less than half of the rates, and has other shares of dialogues.
LAST_STEPS, LAST_MATRIX_RATE, LAST_OTHER_RATE = 700, 0.004, 8e-4
WEIGHT_DECAY = 0.05
USUAL_SHAPE = (21, 190)
"""Of a batch: examples, and their length."""
SORTER_SHARE = 0.1
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


def make_optimizers(model: Any, sorter: Any) -> list[Any]:
    """Muon for the layers' matrices, which then learn about twice as much a step; Adam for the rest."""
    import torch

    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in (*model.parameters(), *sorter.parameters()) if id(weight) not in chosen]
    return [
        torch.optim.Muon(matrices, momentum=0.95, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0),
    ]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the training: how many steps, and at which rates. They rise, stay, and fall to nothing in the end."""

    steps: int
    matrix_rate: float
    other_rate: float
    rise_steps: float = RISE_STEPS
    fall_steps: float = 1

    def rates_at(self, step: int) -> tuple[float, float]:
        """Of the matrices and of the rest."""
        share = min(1.0, (step + 1) / self.rise_steps, (self.steps - step) / self.fall_steps)
        return share * self.matrix_rate, share * self.other_rate


def parts(steps: int) -> tuple[Part, Part, Part]:
    """Practice, dialogues, and dialogues of which most are to be copied exactly, where all take so many steps."""
    practice = min(steps, PRACTICE_STEPS)
    last = min(LAST_STEPS, (steps - practice) // 4)
    talk = steps - practice - last
    return (
        Part(practice, PRACTICE_MATRIX_RATE, OTHER_RATE),
        Part(talk, MATRIX_RATE, OTHER_RATE, 2 * RISE_STEPS, (talk + practice) * FALL_SHARE),
        Part(last, LAST_MATRIX_RATE, LAST_OTHER_RATE, 2 * RISE_STEPS, last),
    )


def make_sorter(model: Any, kinds: Any) -> Any:
    """The layer that names a question's kind, and is thrown away in the end. `kinds` has the shape (kinds, HALF)."""
    import torch

    sorter = torch.nn.Linear(model.config.hidden_size, len(kinds))
    with torch.no_grad():
        sorter.weight.zero_()
        sorter.weight[:, :HALF] = kinds * SORTER_SHARE
    return sorter


def learn(model: Any, sorter: Any, batch: Batch, share: float = 1.0) -> tuple[float, float]:
    """Adds a share of one batch's gradients; returns the mean loss of its learned tokens, and that of sorting.

    Beside the next token the model learns what each question is about. Without it, the answers are known by heart long
    before the questions are told apart. A batch that has only one of the two to learn gives 0 for the other.
    """
    import torch
    from torch.nn.functional import cross_entropy

    ids, rows, columns, labels, asked, kinds = (
        torch.from_numpy(array).to(model.device)
        for array in (batch.ids, *learned_places(batch), batch.asked, batch.kinds)
    )
    loss = sorting = torch.zeros((), device=model.device)
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        # The vocabulary is a third of the work, so it is only asked where something is learned.
        logits = model.lm_head(hidden[rows, columns])
        sorted_as = sorter(hidden[torch.arange(len(ids), device=model.device), asked])
    if batch.learned.any():
        loss = cross_entropy(logits.float(), labels, ignore_index=NOT_LEARNED)
    if (kinds != NO_KIND).all():
        sorting = cross_entropy(sorted_as.float(), kinds)
    (share * (loss + sorting)).backward()
    return float(loss.detach()), float(sorting.detach())


def learned_places(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The rows and columns before the tokens that are learned, and those tokens; all of the shape (places,).

    Filled up to a multiple of `PLACES`, for each count of them costs a kernel of its own.
    """
    rows, columns = batch.learned[:, 1:].nonzero()
    labels = batch.ids[rows, columns + 1]
    fill = (0, -len(rows) % PLACES)
    return np.pad(rows, fill), np.pad(columns, fill), np.pad(labels, fill, constant_values=NOT_LEARNED)


Learned = Iterator[tuple[int, float, float]]
"""Adds the gradients of one step after another; gives its tokens, and the losses of its text and of sorting."""


def practice_steps(model: Any, sorter: Any, copies: Iterator[Batch], questions: Iterator[Batch]) -> Learned:
    for practice, asked in zip(copies, questions, strict=False):
        yield practice.ids.size + asked.ids.size, learn(model, sorter, practice)[0], learn(model, sorter, asked)[1]


def dialogue_steps(
    model: Any, sorter: Any, answers: Iterator[Batch], beside: Sequence[tuple[Iterator[Batch], float]]
) -> Learned:
    """Now and then a step goes on practising, lest it forget: what stands `beside`, with the share that it counts."""
    for step in itertools.count():
        learned = [(next(answers), 1 / BATCHES_PER_STEP) for _ in range(BATCHES_PER_STEP)]
        if step % PRACTISED_EVERY == 0:
            learned += [(next(practice), share) for practice, share in beside]
        losses = [learn(model, sorter, batch, share) for batch, share in learned]
        yield sum(batch.ids.size for batch, _ in learned), *losses[0]


def train(model: Any, sorter: Any, learned: Learned, part: Part) -> None:
    """Take a part's steps. Its optimizers are its own: the momentum of the part before leads elsewhere."""
    import torch

    optimizers = make_optimizers(model, sorter)
    started, seen = time.monotonic(), 0
    for step, (tokens, loss, sorting) in enumerate(itertools.islice(learned, part.steps)):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, part.rates_at(step), strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        seen += tokens
        if step % 20 == 19 or step == part.steps - 1:
            spent = time.monotonic() - started
            pace = f"{seen / spent:.0f} tokens/s, {spent:.0f} s"
            print(f"step {step + 1}/{part.steps}, loss {loss:.3f}, of sorting {sorting:.3f}, {pace}", flush=True)


def learn_all(model: Any, sorter: Any, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues, steps: int) -> None:
    """Practice, then the dialogues, and at last those that are hard.

    The weights are the mean of those before and after the last part, which on the held-out questions are better than
    both: what the last part gives to copying it takes from telling topics apart.
    """
    import torch

    practice, talk, last = parts(steps)
    copies = copying_batches(tokenizer, seed=COPIES_SEED, examples=PRACTICE_COPIES)
    questions = sorting_batches(dialogues, tokenizer, seed=QUESTIONS_SEED, examples=PRACTICE_QUESTIONS)
    train(model, sorter, practice_steps(model, sorter, copies, questions), practice)
    train(model, sorter, talk_steps(model, sorter, tokenizer, dialogues), talk)
    before = [weight.detach().clone() for weight in model.parameters()]
    train(model, sorter, talk_steps(model, sorter, tokenizer, Dialogues(LAST_SHARES), LAST_SEEDS), last)
    with torch.no_grad():
        for weight, earlier in zip(model.parameters(), before, strict=True):
            weight.lerp_(earlier, 0.5)


def talk_steps(
    model: Any, sorter: Any, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues, seeds: int = 0
) -> Learned:
    """The steps of a part that learns dialogues; `seeds` is added to all of its seeds."""
    copies = copying_batches(tokenizer, seed=COPIES_SEED + 1 + seeds, examples=COPIES)
    questions = sorting_batches(dialogues, tokenizer, seed=QUESTIONS_SEED + 1 + seeds, examples=QUESTIONS)
    beside = [(copies, COPIES_SHARE), (questions, QUESTIONS_SHARE)]
    answers = batches(
        dialogues, tokenizer, seed=BATCHES_SEED + seeds, drawn=DIALOGUES_AT_ONCE, batch_tokens=BATCH_TOKENS
    )
    return dialogue_steps(model, sorter, answers, beside)


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a folder as transformers and vLLM read it, the weights in bfloat16."""
    import torch
    from transformers import GenerationConfig

    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ends, pad = tokenizer.convert_tokens_to_ids([TURN_ENDS, END_OF_TEXT])
    GenerationConfig(eos_token_id=ends, pad_token_id=pad, do_sample=True, temperature=0.3).save_pretrained(folder)


def _compile(model: Any) -> None:
    """Makes a step about twice as fast.

    Batches have many shapes, so one program must do for all; it is made for the shape that it sees first.
    """
    import torch

    model.model.compile(dynamic=True)
    ids = torch.zeros(USUAL_SHAPE, dtype=torch.int64, device=model.device)
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    hidden.sum().backward()
    model.zero_grad()


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
    sorter = make_sorter(model, kinds).to(device)
    if shutil.which("c++"):
        _compile(model)
    learn_all(model, sorter, tokenizer, dialogues, arguments.steps)
    save(model, tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
