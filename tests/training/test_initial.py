"""The guide's weights before training: attention finds what followed a token before, and a number lies near its next.

Does not know whether training keeps that.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

TEXT_TOKENS = 24


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    import torch

    from training.initial import HALF, make_model

    torch.manual_seed(1)
    # As in use, most words say nothing of any topic.
    says_something = torch.arange(len(tokenizer)) % 8 == 0
    made = make_model(tokenizer, torch.randn(len(tokenizer), HALF) * says_something[:, None])
    made.set_attn_implementation("eager")
    return made.eval()


def test_attention_looks_up_what_followed_a_token_before(model: Any, tokenizer: Any) -> None:
    import torch

    text = random.Random(1).sample(range(2000, len(tokenizer)), TEXT_TOKENS)
    with torch.inference_mode():
        attentions = model.model(input_ids=torch.tensor([text * 2]), output_attentions=True).attentions
    back, up = attentions[0][0, 0], attentions[1][0, :2].mean(0)  # each of the two knows half of a token
    places = range(1, 2 * TEXT_TOKENS)
    assert all(back[place].argmax() == place - 1 for place in places)
    found = [int(up[place].argmax()) == place - TEXT_TOKENS + 1 for place in range(TEXT_TOKENS, 2 * TEXT_TOKENS)]
    assert sum(found) >= 0.9 * TEXT_TOKENS


def test_a_space_before_a_token_is_the_same_step_for_all(model: Any, tokenizer: Any) -> None:
    import torch

    from training.initial import HALF, SPACED_SHARE
    from training.tokenizer import spaced_pairs

    identities = model.model.embed_tokens.weight[:, HALF:].detach()
    spaced, bare = torch.tensor(spaced_pairs(tokenizer)).T
    steps = identities[spaced] * (1 + SPACED_SHARE**2) ** 0.5 - identities[bare]
    likeness = torch.nn.functional.cosine_similarity(steps, steps.mean(0, keepdim=True))
    assert float(likeness.mean()) > 0.9


def test_a_number_lies_near_the_next_one(model: Any, tokenizer: Any) -> None:
    import torch

    from training.initial import HALF

    identities = model.model.embed_tokens.weight[:, HALF:].detach()
    numbers = identities[tokenizer.convert_tokens_to_ids([str(number) for number in range(1000)])]
    likeness = torch.nn.functional.cosine_similarity(numbers[350], numbers)
    assert likeness[351] > 0.4
    assert likeness[350] > 0.99
    assert float((likeness[[111, 222, 777]]).abs().max()) < 0.4
