"""Makes the guide from scratch: the tokenizer, then the weights; `make guide` runs it.

Does not know what the guide is taught (`training.dialogues`) or how well it does (`training.evaluate`).
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.dialogues import MORE_EXERCISES, Dialogues
from training.encode import Batch, answer_text, batches
from training.initial import HALF, make_model
from training.tokenizer import END_OF_TEXT, TURN_ENDS, train_tokenizer
from training.warm_up import NO_KIND, copying_batches, sorting_batches
from training.words import word_vectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEED = 7
WORDS_SEED, COPIES_SEED, QUESTIONS_SEED, BATCHES_SEED = 3, 5, 8, 100
STEPS = 2600
TOKENIZER_DIALOGUES = 40_000
DIALOGUES_AT_ONCE = 8000
BATCH_TOKENS = 4096
# The steps that only practise, and what a step practises, then and later. Later it counts as a share of a batch.
PRACTICE_STEPS, PRACTICE_COPIES, PRACTICE_QUESTIONS = 120, 64, 128
COPIES, COPIES_SHARE = 10, 0.2
QUESTIONS, QUESTIONS_SHARE = 32, 0.5
RISE_STEPS = 20
# The last part of the steps, in which the rates fall to nothing.
FALL_SHARE, EXERCISES_FALL_SHARE = 0.6, 0.85
# Practice has few ways to go wrong. Beside the dialogues, so fast a step would tread down what was practised.
PRACTICE_MATRIX_RATE, MATRIX_RATE = 0.02, 0.007
OTHER_RATE = 2e-3
# What is copied letter by letter needs more of it than what is known by heart, and is learned last.
EXERCISE_STEPS, EXERCISES_SEED = 850, 600
EXERCISES_MATRIX_RATE, EXERCISES_OTHER_RATE = 0.005, 1.2e-3
WEIGHT_DECAY = 0.05
SORTER_SHARE = 0.1


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


def rates_at(step: int, steps: int) -> tuple[float, float]:
    """Of the matrices and of the rest: a short rise, again where practice ends; a plateau; a straight fall."""
    is_practice = step < PRACTICE_STEPS
    rise = (step + 1) / RISE_STEPS if is_practice else (step + 1 - PRACTICE_STEPS) / (2 * RISE_STEPS)
    share = min(1.0, rise, (steps - step) / (steps * FALL_SHARE))
    return share * (PRACTICE_MATRIX_RATE if is_practice else MATRIX_RATE), share * OTHER_RATE


def exercise_rates_at(step: int, steps: int) -> tuple[float, float]:
    """The same for the last part: a short rise and a fall."""
    share = min(1.0, (step + 1) / RISE_STEPS, (steps - step) / (steps * EXERCISES_FALL_SHARE))
    return share * EXERCISES_MATRIX_RATE, share * EXERCISES_OTHER_RATE


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

    ids, learned, asked, kinds = (
        torch.from_numpy(array).to(model.device)
        for array in (batch.ids, batch.learned[:, 1:], batch.asked, batch.kinds)
    )
    loss = sorting = torch.zeros((), device=model.device)
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
        # The vocabulary is a third of the work, so it is only asked where something is learned.
        logits = model.lm_head(hidden[:, :-1][learned])
        sorted_as = sorter(hidden[torch.arange(len(ids), device=model.device), asked])
    if learned.any():
        loss = cross_entropy(logits.float(), ids[:, 1:][learned])
    if (kinds != NO_KIND).all():
        sorting = cross_entropy(sorted_as.float(), kinds)
    (share * (loss + sorting)).backward()
    return float(loss.detach()), float(sorting.detach())


def learn_steps(
    model: Any, sorter: Any, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues
) -> Iterator[tuple[int, float, float]]:
    """Adds the gradients of one step after another; gives its tokens, and the losses of its text and of sorting.

    First it only practises, and goes on practising a little beside the dialogues, lest it forget.
    """
    copies = copying_batches(tokenizer, seed=COPIES_SEED, examples=PRACTICE_COPIES)
    questions = sorting_batches(dialogues, tokenizer, seed=QUESTIONS_SEED, examples=PRACTICE_QUESTIONS)
    for _ in range(PRACTICE_STEPS):
        practice, asked = next(copies), next(questions)
        yield practice.ids.size + asked.ids.size, learn(model, sorter, practice)[0], learn(model, sorter, asked)[1]
    copies = copying_batches(tokenizer, seed=COPIES_SEED + 1, examples=COPIES)
    questions = sorting_batches(dialogues, tokenizer, seed=QUESTIONS_SEED + 1, examples=QUESTIONS)
    for batch in answer_batches(dialogues, tokenizer, BATCHES_SEED):
        practice, asked = next(copies), next(questions)
        learn(model, sorter, practice, COPIES_SHARE)
        learn(model, sorter, asked, QUESTIONS_SHARE)
        yield practice.ids.size + asked.ids.size + batch.ids.size, *learn(model, sorter, batch)


def exercise_steps(
    model: Any, sorter: Any, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues
) -> Iterator[tuple[int, float, float]]:
    """The same for the last part, in which `dialogues` have more exercises."""
    questions = sorting_batches(dialogues, tokenizer, seed=QUESTIONS_SEED + 2, examples=QUESTIONS)
    for batch in answer_batches(dialogues, tokenizer, EXERCISES_SEED):
        asked = next(questions)
        learn(model, sorter, asked, QUESTIONS_SHARE)
        yield asked.ids.size + batch.ids.size, *learn(model, sorter, batch)


def answer_batches(dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Batch]:
    """Without an end: dialogues that are drawn some thousands at a time."""
    for drawn in itertools.count(seed):
        yield from batches(dialogues, tokenizer, seed=drawn, drawn=DIALOGUES_AT_ONCE, batch_tokens=BATCH_TOKENS)


def train(
    model: Any,
    sorter: Any,
    learned_steps: Iterator[tuple[int, float, float]],
    steps: int,
    rates: Callable[[int, int], tuple[float, float]],
) -> None:
    """Takes as many steps, at the rates that `rates(step, steps)` gives for the matrices and for the rest."""
    import torch

    optimizers = make_optimizers(model, sorter)
    started, seen = time.monotonic(), 0
    for step, (tokens, loss, sorting) in enumerate(itertools.islice(learned_steps, steps)):
        if step == PRACTICE_STEPS and rates is rates_at:
            # Practice's momentum leads elsewhere.
            optimizers = make_optimizers(model, sorter)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(optimizers, rates(step, steps), strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        seen += tokens
        if step % 20 == 19 or step == steps - 1:
            spent = time.monotonic() - started
            pace = f"{seen / spent:.0f} tokens/s, {spent:.0f} s"
            print(f"step {step + 1}/{steps}, loss {loss:.3f}, of sorting {sorting:.3f}, {pace}", flush=True)


def be_the_mean(model: Any, other: Any) -> None:
    """Make a model's weights the mean of its own and another's: it then does better what either does well.

    Wortsman et al., 2022 (arXiv:2203.05482).
    """
    import torch

    with torch.no_grad():
        for weight, its in zip(model.parameters(), other.parameters(), strict=True):
            weight.lerp_(its, 0.5)


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
    sorter = make_sorter(model, kinds).to(device)
    train(model, sorter, learn_steps(model, sorter, tokenizer, dialogues), arguments.steps, rates_at)
    before = copy.deepcopy(model)
    exercises = exercise_steps(model, sorter, tokenizer, Dialogues(MORE_EXERCISES))
    train(model, sorter, exercises, arguments.steps * EXERCISE_STEPS // STEPS, exercise_rates_at)
    be_the_mean(model, before)
    save(model, tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
