"""Writes what is reported beside an answer's text: token ids and the log probabilities of the prompt, as vLLM does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocol.output import Candidate, PromptReport

LOGPROB_FLOOR = -9999.0
"""Stands for minus infinity, which JSON cannot express."""


def prompt_members(prompt: PromptReport | None) -> dict[str, Any]:
    """The members of a response or a choice that tell of its prompt."""
    members: dict[str, Any] = {}
    if prompt is None:
        return members
    if prompt.logprobs is not None:
        members["prompt_logprobs"] = prompt_logprobs(prompt.logprobs)
    if prompt.token_ids is not None:
        members["prompt_token_ids"] = list(prompt.token_ids)
    return members


def prompt_logprobs(
    positions: Sequence[Mapping[int, Candidate] | None],
) -> list[dict[str, dict[str, Any]] | None]:
    """For each token of a prompt the candidates by id, the token itself first; None for the first token."""
    return [
        None
        if position is None
        else {
            str(token_id): {
                "logprob": max(candidate.logprob, LOGPROB_FLOOR),
                "rank": candidate.rank,
                "decoded_token": candidate.decoded_token,
            }
            for token_id, candidate in position.items()
        }
        for position in positions
    ]
