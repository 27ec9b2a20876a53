"""Trains a guide that exists further, when its data has grown: the same tokenizer, and more of the topics that are new.

Everything else is repeated meanwhile, or it would be forgotten.
"""

from __future__ import annotations

import argparse
import copy
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import GUIDE
from training.dialogues.dialogues import OFTEN, Dialogues, Shares
from training.dialogues.roles import TOOL_ROLES
from training.dialogues.topics import DATA, read_toml
from training.model.initial import HALF
from training.model.student import Student
from training.schedule import FURTHER_STEPS, HEADS, further
from training.train import SEED, practice_steps, practised, save, talk_steps, train

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HEAD_SEEDS, FURTHER_SEEDS = 30, 40
"""What is added to the seeds in each part."""
NEW_WEIGHT, CHANGED_WEIGHT = 5, 3
"""How often a topic of `data/latest.toml` is drawn, in place of once."""
SHARES = Shares(0.12, {"count": 0.06, "repeat": 0.04, "listing": 0.01, "json": 0.02, "unknown": 0.12})
# Small steps: these weights need many little changes and few large ones. As in `train`, what a step practises.
BATCH_TOKENS = 1536
BESIDE = ((8, 0.2), (64, 0.5), (24, 0.3), (8, 0.2))
HEADS_PRACTICE = ((1, 0.0), (128, 1.0), (24, 1.0), (1, 0.0))
CHECKPOINT_STEPS = 50


def latest_dialogues() -> Dialogues:
    """All dialogues, with the latest topics drawn more often."""
    latest = read_toml(DATA / "latest.toml")
    weights = {**dict.fromkeys(latest["changed"], CHANGED_WEIGHT), **dict.fromkeys(latest["new"], NEW_WEIGHT)}
    return Dialogues(SHARES, {**OFTEN, **weights})


def load(source: Path) -> tuple[Any, PreTrainedTokenizerFast]:
    """The model of a folder, in float32, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(source)
    # Where it was loaded from is not to be saved with it.
    for name in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)
    return model.train(), tokenizer


def train_heads(student: Student, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues) -> None:
    """The two layers that help to learn were thrown away, so they learn first, from a model that stays as it is."""
    import torch

    beside = practised(HEADS_PRACTICE, tokenizer, dialogues, HEAD_SEEDS)[1:3]
    heads = [torch.optim.AdamW(head.parameters(), weight_decay=0.0) for head in (student.sorter, student.tagger)]
    student.model.requires_grad_(False)
    train(student, practice_steps(student, beside), HEADS, heads)
    student.model.requires_grad_(True)


def mix(model: Any, source: Any, share: float) -> None:
    """Gives `model` this share of its own weights, and else the source's."""
    import torch

    with torch.no_grad():
        for weight, before in zip(model.parameters(), source.parameters(), strict=True):
            weight.lerp_(before, 1 - share)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(prog="python -m training.further", description="Train a guide further.")
    parser.add_argument("folder", type=Path, help="where the model is written")
    parser.add_argument("--source", type=Path, default=GUIDE, help="the guide to begin from; engine/guide by default")
    parser.add_argument("--steps", type=int, default=FURTHER_STEPS, help="%(default)s by default")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end by then, if the steps have not ended")
    parser.add_argument("--share", type=float, default=1.0, help="of the new weights in their mean with the source's")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    dialogues = latest_dialogues()
    model, tokenizer = load(arguments.source)
    source = copy.deepcopy(model)
    kinds = torch.zeros(len(dialogues.kinds), HALF)
    student = Student(model, kinds, TOOL_ROLES + len(dialogues.tools.roles))
    train_heads(student, tokenizer, dialogues)
    if shutil.which("c++"):
        student.compile()

    def keep(step: int) -> None:
        if step % CHECKPOINT_STEPS == 0:
            save(copy.deepcopy(model), tokenizer, arguments.folder)

    steps = talk_steps(student, tokenizer, dialogues, FURTHER_SEEDS, beside=BESIDE, batch_tokens=BATCH_TOKENS)
    train(student, steps, further(arguments.steps), minutes=arguments.minutes, after_step=keep)
    mix(model, source, arguments.share)
    save(model, tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
