"""Makes the guide from scratch: the tokenizer, then the weights; `make guide` runs it.

Does not know what the guide is taught (`training.dialogues`) or how well it does (`training.evaluate`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.dialogues import Dialogues
from training.encode import Batch, answer_text, batches
from training.tokenizer import CONTEXT_TOKENS, END_OF_TEXT, TURN_BEGINS, TURN_ENDS, train_tokenizer
from training.words import word_vectors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SEED = 7
WORDS_SEED, BATCHES_SEED = 3, 100
STEPS = 2500
BATCH_TOKENS = 4096
DIALOGUES_AT_ONCE = 8000
TOKENIZER_DIALOGUES = 40_000
WARM_UP_STEPS = 20
# The last part of the training, in which the rate falls to nothing.
DECAY_SHARE = 0.4
MATRIX_RATE = 0.02
OTHER_RATE = 2e-3
WEIGHT_DECAY = 0.05
SORTING_WEIGHT = 0.5
# The root mean square of an embedding's random part, and how many times as long the part is that the words give.
EMBEDDING_SIZE = 0.1
VECTOR_SHARE = 3.0

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


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


def make_model(tokenizer: PreTrainedTokenizerFast, vectors: Any) -> Any:
    """A Qwen3 with random weights, in float32, but for the embeddings: they begin with the words' `vectors`."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ends, pad, begins = tokenizer.convert_tokens_to_ids([TURN_ENDS, END_OF_TEXT, TURN_BEGINS])
    config = Qwen3Config(
        **SHAPE,
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=False,
        bos_token_id=begins,
        eos_token_id=ends,
        pad_token_id=pad,
    )
    model = Qwen3ForCausalLM(config)
    embeddings = model.model.embed_tokens.weight
    # Chance keeps apart the words that say nothing of a topic.
    torch.nn.init.normal_(embeddings, std=EMBEDDING_SIZE)
    random_length = EMBEDDING_SIZE * SHAPE["hidden_size"] ** 0.5
    with torch.no_grad():
        embeddings += vectors * (VECTOR_SHARE * random_length / vectors.norm(dim=1).quantile(0.9))
    return model


def make_optimizers(model: Any, sorter: Any) -> list[Any]:
    """Muon for the layers' matrices, which then learn about twice as much a step; Adam for the rest."""
    import torch

    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    others = [weight for weight in (*model.parameters(), *sorter.parameters()) if id(weight) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, momentum=0.95, weight_decay=WEIGHT_DECAY),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_at(step: int, steps: int) -> float:
    """The share of the full rate: a short rise, a plateau, a straight fall."""
    return min(1.0, (step + 1) / WARM_UP_STEPS, (steps - step) / (steps * DECAY_SHARE))


def learn(model: Any, sorter: Any, batch: Batch) -> tuple[float, float]:
    """Adds the gradients of one batch; returns the mean loss of its learned tokens, and that of sorting.

    Beside the next token the model learns what each question is about, by a linear layer that is thrown away in the
    end. Without it, the answers are known by heart long before the questions are told apart.
    """
    import torch

    ids, learned = torch.from_numpy(batch.ids), torch.from_numpy(batch.learned)
    with torch.autocast("cpu" if ids.device.type == "cpu" else "cuda", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
        # The vocabulary is a third of the work, so it is only asked where something is learned.
        wanted = learned[:, 1:].to(model.device)
        logits = model.lm_head(hidden[:, :-1][wanted])
        kinds = sorter(hidden[torch.arange(len(ids)), torch.from_numpy(batch.asked)])
    loss = torch.nn.functional.cross_entropy(logits.float(), ids.to(model.device)[:, 1:][wanted])
    sorting = torch.nn.functional.cross_entropy(kinds.float(), torch.from_numpy(batch.kinds).to(model.device))
    (loss + SORTING_WEIGHT * sorting).backward()
    return float(loss.detach()), float(sorting.detach())


def train(model: Any, tokenizer: PreTrainedTokenizerFast, dialogues: Dialogues, steps: int) -> None:
    import torch

    sorter = torch.nn.Linear(model.config.hidden_size, len(dialogues.kinds)).to(model.device)
    optimizers = make_optimizers(model, sorter)
    full_rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    rounds = (
        batches(dialogues, tokenizer, seed=BATCHES_SEED + count, drawn=DIALOGUES_AT_ONCE, batch_tokens=BATCH_TOKENS)
        for count in itertools.count()
    )
    started, seen = time.monotonic(), 0
    for step, batch in enumerate(itertools.islice(itertools.chain.from_iterable(rounds), steps)):
        for optimizer, full_rate in zip(optimizers, full_rates, strict=True):
            optimizer.param_groups[0]["lr"] = full_rate * rate_at(step, steps)
        loss, sorting = learn(model, sorter, batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        seen += batch.ids.size
        if step % 20 == 19 or step == steps - 1:
            spent = time.monotonic() - started
            pace = f"{seen / spent:.0f} tokens/s, {spent:.0f} s"
            print(f"step {step + 1}/{steps}, loss {loss:.3f}, of sorting {sorting:.3f}, {pace}", flush=True)


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
    vectors = word_vectors(dialogues, tokenizer, SHAPE["hidden_size"], WORDS_SEED)
    model = make_model(tokenizer, vectors).to("cuda" if torch.cuda.is_available() else "cpu")
    print(f"model: {sum(weight.numel() for weight in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    train(model, tokenizer, dialogues, arguments.steps)
    save(model, tokenizer, arguments.folder)


if __name__ == "__main__":
    main()
