"""The model while it learns: what it makes of tokens, and two layers that help it to learn and are thrown away."""

from __future__ import annotations

from typing import Any

from training.model.initial import HALF, LOOKING_TURN, MIDDLE

SORTER_SHARE = 0.1
USUAL_SHAPE = (21, 190)
"""Of a batch: examples, and their length."""


class Student:
    """A model, the layer that names a question's kind (`sorter`), and the one that names a word's role (`tagger`)."""

    def __init__(self, model: Any, kinds: Any, roles: int) -> None:
        """`kinds`, of the shape (kinds, HALF), says where each kind's words lie."""
        import torch

        self.model = model
        self.device = model.device
        size = model.config.hidden_size
        self.sorter = torch.nn.Linear(size, len(kinds), device=self.device)
        self.tagger = torch.nn.Linear(HALF, roles, device=self.device)
        with torch.no_grad():
            self.sorter.weight.zero_()
            self.sorter.weight[:, :HALF] = kinds * SORTER_SHARE
        self._states = _hidden_states

    def parameters(self) -> list[Any]:
        return [*self.model.parameters(), *self.sorter.parameters(), *self.tagger.parameters()]

    def tagged(self, middle: Any) -> Any:
        """Scores of the roles (`training.dialogues.roles`), that of a token before that of a place that looks for it.

        `middle` has the shape (places, hidden size), what is given (places, 2 x roles).
        """
        import torch

        told = middle[:, :HALF]
        both = (self.tagger(told), self.tagger(told.roll(LOOKING_TURN, dims=1)))
        return torch.stack(both, dim=-1).flatten(1)

    def hidden_states(self, ids: Any) -> tuple[Any, Any, Any]:
        """In the middle, in the end, and what the next token is read from; each (examples, length, hidden size)."""
        states: tuple[Any, Any, Any] = self._states(self.model.model, ids)
        return states

    def compile(self) -> None:
        """Makes a step about twice as fast.

        Batches have many shapes, so one program must do for all; it is made for the shape that it sees first.
        """
        import torch

        self._states = torch.compile(_hidden_states, dynamic=True)
        ids = torch.zeros(USUAL_SHAPE, dtype=torch.int64, device=self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            states = self.hidden_states(ids)
        sum(state.sum() for state in states).backward()
        self.model.zero_grad()


def _hidden_states(layers: Any, ids: Any) -> tuple[Any, Any, Any]:
    """What stands between the layers is in bfloat16, as it is in use, which also takes a sixth of the time away."""
    import torch
    from torch.nn.functional import rms_norm

    hidden = layers.embed_tokens(ids).to(torch.bfloat16)
    middle = hidden
    places = torch.arange(ids.shape[1], device=ids.device)
    later = places[:, None] < places
    mask = torch.zeros(later.shape, dtype=hidden.dtype, device=ids.device).masked_fill(
        later, torch.finfo(hidden.dtype).min
    )
    turns = layers.rotary_emb(hidden, places[None])
    for at, layer in enumerate(layers.layers):
        if at == MIDDLE:
            middle = hidden
        hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=turns)
    size = hidden.shape[-1:]
    return rms_norm(middle, size), rms_norm(hidden, size), layers.norm(hidden)
