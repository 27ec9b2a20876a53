"""Learns in seconds what each word says about a question's topic, by a bag of words; the embeddings begin there."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from training.dialogues.dialogues import TOOL, Dialogues

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

QUESTIONS, DEFINITIONS = 75_000, 6_000
ROUNDS = 4
BATCH = 512
RATE, RATE_FALL = 5e-3, 0.7


def word_vectors(dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, size: int, seed: int) -> tuple[Any, Any]:
    """A vector for each token, of the shape (tokens, size), and one for each kind of question, (kinds, size).

    Both are float32. A token's is long where it tells kinds apart, and points to those that it speaks for.
    """
    import torch

    bags, kinds = _questions(dialogues, tokenizer, seed)
    words = torch.nn.EmbeddingBag(len(tokenizer), size, mode="sum")
    torch.nn.init.normal_(words.weight, std=0.05)
    sorter = torch.nn.Linear(size, len(dialogues.kinds))
    optimizer = torch.optim.Adam([*words.parameters(), *sorter.parameters()], lr=RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, RATE_FALL)
    for _ in range(ROUNDS):
        for places in torch.randperm(len(bags)).split(BATCH):
            chosen = [bags[place] for place in places.tolist()]
            lengths = torch.tensor([len(bag) for bag in chosen])
            starts = lengths.cumsum(0) - lengths
            # Divided by the root, for a long question's vector is then as long as a short one's.
            meaning = words(torch.cat(chosen), starts) / lengths.clamp(min=1).sqrt()[:, None]
            loss = torch.nn.functional.cross_entropy(sorter(meaning), kinds[places])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        print(f"words: loss {loss.item():.3f}", flush=True)
    return words.weight.detach(), sorter.weight.detach()


def _questions(dialogues: Dialogues, tokenizer: PreTrainedTokenizerFast, seed: int) -> tuple[list[Any], Any]:
    """The tokens of single questions and of tools' definitions, and the number of the kind of each."""
    import torch

    rng = random.Random(seed)
    texts: list[str] = []
    kinds: list[int] = []
    while len(texts) < QUESTIONS:
        dialogue = dialogues.draw(rng)
        asked = [message["content"] for message in dialogue.messages if message["role"] == "user"]
        if len(asked) == 1:
            texts += asked
            kinds.append(dialogues.kinds[dialogue.kind])
    # A tool's definition lies where the questions lie that call for it.
    for _ in range(DEFINITIONS):
        tool, text = dialogues.tools.described(rng)
        texts.append(text)
        kinds.append(dialogues.kinds[TOOL.format(tool)])
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [torch.tensor(ids, dtype=torch.int64) for ids in encoded], torch.tensor(kinds)
