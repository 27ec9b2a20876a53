"""The guide's weights before training: words lie by their topics, and attention can copy from the first step.

A model with random weights spends most of an hour finding out that a word can be looked up where it stood before, and
that a question is told by its words; neither has to be found out. The circuit that copies is the induction head of
Olsson et al., 2022 (arXiv:2209.11895); the rest is this project's own measuring.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from training.model.tokenizer import CONTEXT_TOKENS, END_OF_TEXT, TURN_BEGINS, TURN_ENDS, spaced_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 64,
}
ROPE_THETA = 10_000.0
# One half of an embedding tells what a word says of a question's topic, the other which token it is.
HALF = SHAPE["hidden_size"] // 2
HEAD = SHAPE["head_dim"]
# Which dimension of the first half is 1 in every embedding: what looks at places only needs something to hold on to.
CONSTANT = 0
# After how many layers a word's role must be known. It stands in the first half, and the next layer looks it up. Who
# looks for it tells it in other dimensions, so many further, so as not to find itself.
MIDDLE, LOOKING_TURN = 3, HALF // 2
SHARPNESS = 1.4
"""Of attention in that layer: one of hundreds of places is meant, and the others must not outweigh it together."""
DIGITS = 3
OWN_SHARE = 0.8
"""Of a number's embedding, beside its digits' parts, which are 1 long: 42 lies near 43, and yet they are told apart."""
SPACED_SHARE = 0.5
"""Of the space's direction in a spaced token, beside that of the token without it: one is found where the other was."""
OUTPUT_SHARE = 0.5
HANDED_ON = 0.5
# Where the looking back has its pairs of dimensions: those that turn fastest tell neighbours apart.
LOOKING_PAIRS = 4


def make_model(tokenizer: PreTrainedTokenizerFast, vectors: Any) -> Any:
    """A Qwen3 in float32. `vectors`, of the shape (tokens, HALF), say what each token tells of a question's topic."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    ends, pad, begins = tokenizer.convert_tokens_to_ids([TURN_ENDS, END_OF_TEXT, TURN_BEGINS])
    config = Qwen3Config(
        **SHAPE,
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        # What is copied is told by where it lies alone, so a token that is seldom seen is copied as well as any.
        tie_word_embeddings=True,
        bos_token_id=begins,
        eos_token_id=ends,
        pad_token_id=pad,
    )
    # The plain way of attention has the faster gradients where texts are so short.
    model = Qwen3ForCausalLM._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        _begin_tokens(model, vectors, _identities(tokenizer))
        _begin_attention([layer.self_attn for layer in model.model.layers])
    return model


def _identities(tokenizer: PreTrainedTokenizerFast) -> Any:
    """A random direction for each token, of the shape (tokens, HALF).

    Numbers share their digits' directions, and a space before a token is the same step from it for all.
    """
    import torch

    own = torch.randn(len(tokenizer), HALF)
    digits = torch.randn(DIGITS, 10, HALF)
    for number in range(10**DIGITS):
        token: Any = tokenizer.convert_tokens_to_ids(str(number))
        shared = sum(digits[place, number // 10**place % 10] for place in range(DIGITS))
        own[token] = OWN_SHARE * own[token] + shared
    own = torch.nn.functional.normalize(own, dim=1)
    space = torch.nn.functional.normalize(torch.randn(HALF), dim=0)
    for spaced, bare in spaced_pairs(tokenizer):
        own[spaced] = own[bare] + SPACED_SHARE * space
    return torch.nn.functional.normalize(own, dim=1)


def _begin_tokens(model: Any, vectors: Any, identities: Any) -> None:
    embeddings, output = model.model.embed_tokens.weight, model.model.norm.weight
    # Most words say nothing of any topic, so that the mean length would make the telling ones too long.
    embeddings[:, :HALF] = vectors / vectors.norm(dim=1).quantile(0.9)
    embeddings[:, CONSTANT] = 1.0
    embeddings[:, HALF:] = identities
    # The output is made of the same embeddings, and which topic a word tells of does not make it the next one.
    output[:HALF], output[HALF:] = 0.0, OUTPUT_SHARE


def _begin_attention(layers: list[Any]) -> None:
    """Every head hands on what it sees, but for those that look for something from the start.

    A question may stand there twice. So what followed a token before is at first told beside it, and only after the
    roles are known in its place: who looks it up must not find the next one.
    """
    import torch

    for attention in layers:
        basis = _orthogonal(SHAPE["hidden_size"])
        attention.v_proj.weight.copy_(basis.T)
        attention.o_proj.weight.copy_(basis * HANDED_ON)
    tokens = _orthogonal(HALF)
    # Where the token before is noted: in the first half, but not in the constant.
    notes = torch.zeros(HALF, HALF)
    notes[CONSTANT + 1 :, :-1] = _orthogonal(HALF - 1)
    # And what followed before. In the second half, each place has its own token alone until the roles are looked up.
    ahead = torch.zeros(HALF, HALF)
    ahead[CONSTANT + 1 :, :-1] = _orthogonal(HALF - 1)
    for head in range(2):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        _look_back(layers[0], rows, tokens[:, rows], notes[:, rows])
        _look_up(layers[1], rows, tokens[:, rows], notes[:, rows], ahead[:, rows], slice(None, HALF))
        # Noted once more, for much has been written over it by then.
        _look_back(layers[MIDDLE - 1], rows, tokens[:, rows], notes[:, rows])
        _look_up_role(layers[MIDDLE], rows, tokens[:, rows])
        # In the same layer, so that neither reads what the other found.
        others = slice(HALF + rows.start, HALF + rows.stop)
        _look_up(layers[MIDDLE], others, tokens[:, rows], notes[:, rows], tokens[:, rows], slice(HALF, None))
    for norm in (layers[MIDDLE].q_norm, layers[MIDDLE].k_norm):
        norm.weight.fill_(SHARPNESS)
    # The other heads of the first layer gather what the words say of the topic.
    rows = slice(HALF, None)
    basis = _orthogonal(HALF)
    _read(layers[0].v_proj.weight, rows, slice(None, HALF), basis.T)
    _write(layers[0].o_proj.weight, rows, slice(None, HALF), basis * HANDED_ON)


def _look_back(attention: Any, rows: slice, tokens: Any, notes: Any) -> None:
    """Look at the token one place before, whatever it is, and note which."""
    constant = slice(CONSTANT, CONSTANT + 1)
    queries, keys = attention.q_proj.weight, attention.k_proj.weight
    queries[rows], keys[rows] = 0.0, 0.0
    for pair in range(LOOKING_PAIRS):
        # A key is turned by one place less than the query that looks for it, so it begins one place further.
        angle = ROPE_THETA ** (-2 * pair / HEAD)
        queries[rows.start + pair, constant] = 1.0
        keys[rows.start + pair, constant] = math.cos(angle)
        keys[rows.start + pair + HEAD // 2, constant] = math.sin(angle)
    _read(attention.v_proj.weight, rows, slice(HALF, None), tokens.T)
    _write(attention.o_proj.weight, rows, slice(None, HALF), notes)


def _look_up_role(attention: Any, rows: slice, tokens: Any) -> None:
    """Look where the role is the same, and say what stands there."""
    keys = tokens.T.clone()
    keys[:, [CONSTANT, CONSTANT + LOOKING_TURN]] = 0.0
    # Only what position turns slowly counts: how far away it is makes little difference.
    for begin in (0, HEAD // 2):
        keys[begin : begin + HEAD // 4] = 0.0
    _read(attention.k_proj.weight, rows, slice(None, HALF), keys)
    _read(attention.q_proj.weight, rows, slice(None, HALF), keys.roll(-LOOKING_TURN, dims=1))
    _read(attention.v_proj.weight, rows, slice(HALF, None), tokens.T)
    _write(attention.o_proj.weight, rows, slice(HALF, None), tokens)


def _look_up(attention: Any, rows: slice, tokens: Any, notes: Any, told: Any, dimensions: slice) -> None:
    """Look where the token before was what this one is, and say what stands there."""
    _read(attention.q_proj.weight, rows, slice(HALF, None), tokens.T)
    _read(attention.k_proj.weight, rows, slice(None, HALF), notes.T)
    _read(attention.v_proj.weight, rows, slice(HALF, None), tokens.T)
    _write(attention.o_proj.weight, rows, dimensions, told)


def _read(weight: Any, rows: slice, dimensions: slice, values: Any) -> None:
    """A head's `rows` take their input from these dimensions only."""
    weight[rows] = 0.0
    weight[rows, dimensions] = values


def _write(weight: Any, columns: slice, dimensions: slice, values: Any) -> None:
    """A head's `columns` give their output to these dimensions only."""
    weight[:, columns] = 0.0
    weight[dimensions, columns] = values


def _orthogonal(size: int) -> Any:
    import torch

    return torch.linalg.qr(torch.randn(size, size)).Q
