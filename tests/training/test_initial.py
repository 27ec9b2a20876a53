"""The guide's initial weights: attention finds what followed a token before, and which role a token belongs to."""

from __future__ import annotations

import random
from typing import Any

import pytest

TEXTS, TEXT_TOKENS = 16, 24


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    import torch

    from training.model.initial import HALF, make_model

    torch.manual_seed(1)
    # As in use, most words say nothing of any topic.
    says_something = torch.arange(len(tokenizer)) % 8 == 0
    made = make_model(tokenizer, torch.randn(len(tokenizer), HALF) * says_something[:, None])
    made.set_attn_implementation("eager")
    return made.eval()


def test_attention_looks_up_what_followed_a_token_before(model: Any, tokenizer: Any) -> None:
    """At first to tell it, then to write it. Each of two heads knows half of a token."""
    import torch

    from training.model.initial import MIDDLE

    rng = random.Random(1)
    texts = torch.tensor([rng.sample(range(2000, len(tokenizer)), TEXT_TOKENS) for _ in range(TEXTS)])
    with torch.inference_mode():
        attentions = model.model(input_ids=texts.repeat(1, 2), output_attentions=True).attentions
    places = torch.arange(2 * TEXT_TOKENS)
    assert (attentions[0][:, 0, 1:].argmax(-1) == places[:-1]).all()
    # By the later layer, what those between have written hides much; yet it is found five times as often as by chance.
    for up, share in ((attentions[1][:, :2].mean(1), 0.9), (attentions[MIDDLE][:, 2:].mean(1), 0.15)):
        found = up[:, TEXT_TOKENS:].argmax(-1) == places[1 : TEXT_TOKENS + 1]
        assert found.float().mean() >= share


def test_a_place_that_looks_for_a_role_finds_the_token_that_has_it(model: Any) -> None:
    """However far away; `LOOKING_TURN` keeps it from finding itself."""
    import torch

    from training.model.initial import HALF, LOOKING_TURN, MIDDLE

    torch.manual_seed(2)
    length, at = 300, 40
    states = torch.randn(1, length, 2 * HALF)
    states[0, -1, :HALF] = states[0, at, :HALF].roll(-LOOKING_TURN)
    attention = model.model.layers[MIDDLE].self_attn
    turns = model.model.rotary_emb(states, torch.arange(length)[None])
    with torch.inference_mode():
        _, looked = attention(states, position_embeddings=turns, attention_mask=None)
    assert [int(looked[0, head, -1].argmax()) for head in range(2)] == [at, at]


def test_a_space_before_a_token_is_the_same_step_for_all(model: Any, tokenizer: Any) -> None:
    import torch

    from training.model.initial import HALF, SPACED_SHARE
    from training.model.tokenizer import spaced_pairs

    identities = model.model.embed_tokens.weight[:, HALF:].detach()
    spaced, bare = torch.tensor(spaced_pairs(tokenizer)).T
    steps = identities[spaced] * (1 + SPACED_SHARE**2) ** 0.5 - identities[bare]
    likeness = torch.nn.functional.cosine_similarity(steps, steps.mean(0, keepdim=True))
    assert float(likeness.mean()) > 0.9


def test_a_number_lies_near_the_next_one(model: Any, tokenizer: Any) -> None:
    import torch

    from training.model.initial import HALF

    identities = model.model.embed_tokens.weight[:, HALF:].detach()
    numbers = identities[tokenizer.convert_tokens_to_ids([str(number) for number in range(1000)])]
    likeness = torch.nn.functional.cosine_similarity(numbers[350], numbers)
    assert likeness[351] > 0.4
    assert likeness[350] > 0.99
    assert float((likeness[[111, 222, 777]]).abs().max()) < 0.4
