"""Turns vLLM's outputs of one step into deltas, and its logprobs into those of the API.

This module does not import vLLM. It reads attributes of its objects, named as in vLLM 0.32: `CompletionOutput` and
`Logprob`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from protocol.extras import NO_EXTRAS, Extras
from protocol.output import Delta, FinishReason, Report, TokenLogprob, TopLogprob

LOGPROB_FLOOR = -9999.0
"""Stands for minus infinity, which JSON cannot express; vLLM's own server uses the same value."""

STEP_TOKENS = 16
"""How many tokens with logprobs become deltas at a time. vLLM merges what a slow reader has not taken, which may be a
whole long answer: converting it at once would block the event loop, and every other stream, for seconds."""

# "repetition" is vLLM's guard against loops: the model repeated itself before it reached a limit.
FINISH_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "repetition": "stop"}


def delta_of(output: Any, top_count: int | None) -> Delta:
    """The delta for one of vLLM's `CompletionOutput` deltas.

    `top_count` is how many candidates the client wants for each token; None if it wants no logprobs.
    """
    token_ids = output.token_ids
    reason = output.finish_reason
    delta = Delta(
        output.index,
        output.text,
        len(token_ids),
        FINISH_REASONS.get(reason) if reason is not None else None,
        token_logprobs(token_ids, output.logprobs, top_count) if top_count is not None else None,
    )
    # A stop token's reason is its id, and the end of the sequence has none.
    if reason is not None and isinstance(output.stop_reason, str):
        delta.stop_string = output.stop_reason
    return delta


def steps_of(outputs: Iterable[Any], top_count: int | None, extras: Extras = NO_EXTRAS) -> Iterator[list[Delta]]:
    """Steps of at most `STEP_TOKENS` tokens with their logprobs or ids, for vLLM's `CompletionOutput` deltas.

    One with more tokens becomes several: the first has the text, the last the finish_reason.
    """
    step: list[Delta] = []
    room = STEP_TOKENS
    for output in outputs:
        whole = delta_of(output, None)
        for start in range(0, max(whole.tokens, 1), STEP_TOKENS):
            ids = output.token_ids[start : start + STEP_TOKENS]
            if step and len(ids) > room:
                yield step
                step, room = [], STEP_TOKENS
            is_last = start + STEP_TOKENS >= whole.tokens
            logprobs = None
            if top_count is not None:
                positions = (output.logprobs or [])[start : start + STEP_TOKENS]
                logprobs = token_logprobs(ids, positions, top_count, as_ids=extras.tokens_as_ids)
            report = Report(tuple(ids)) if extras.return_token_ids and ids else None
            reason = whole.finish_reason if is_last else None
            stop_string = whole.stop_string if is_last else None
            text = "" if start else whole.text
            step.append(Delta(output.index, text, len(ids), reason, logprobs, stop_string=stop_string, report=report))
            room -= len(ids)
    if step:
        yield step


def token_logprobs(
    token_ids: Sequence[int],
    positions: Iterable[Mapping[int, Any] | None] | None,
    top_count: int,
    *,
    as_ids: bool = False,
) -> tuple[TokenLogprob, ...]:
    """Logprobs for each of `token_ids`; `positions[i]` maps candidate ids to vLLM's `Logprob` (None: not predicted).

    If the sampled token is not among the `top_count` best, vLLM adds it to the candidates; it is reported as the token
    and left out of its `top`. With `as_ids`, tokens are written as `token_id:…`.
    """
    if as_ids:
        return tuple(
            _with_ids(token_id, position, top_count)
            for token_id, position in zip(token_ids, positions or (), strict=False)
        )
    return tuple(
        _token_logprob(token_id, position, top_count)
        for token_id, position in zip(token_ids, positions or (), strict=False)
    )


def _token_logprob(token_id: int, position: Mapping[int, Any] | None, top_count: int) -> TokenLogprob:
    if position is None:
        return TokenLogprob("", None, b"")
    chosen = position[token_id]
    best = sorted(position.values(), key=lambda candidate: candidate.rank or 0)
    top = tuple(TopLogprob(*_text_and_logprob(candidate)) for candidate in best[:top_count])
    return TokenLogprob(*_text_and_logprob(chosen), top)


def _with_ids(token_id: int, position: Mapping[int, Any] | None, top_count: int) -> TokenLogprob:
    named = f"token_id:{token_id}"
    if position is None:
        return TokenLogprob(named, None, b"")
    best = sorted(position.items(), key=lambda item: item[1].rank or 0)[:top_count]
    top = tuple(TopLogprob(f"token_id:{at}", *_text_and_logprob(candidate)[1:]) for at, candidate in best)
    return TokenLogprob(named, *_text_and_logprob(position[token_id])[1:], top)


def _text_and_logprob(candidate: Any) -> tuple[str, float, bytes]:
    # A token that ends in the middle of a character has no text; the character's last token has all of it.
    text = candidate.decoded_token or ""
    return text, _finite(candidate.logprob), text.encode()


def _finite(logprob: float) -> float:
    return max(logprob, LOGPROB_FLOOR)
