"""How a request can end, and on which wire it came: the labels of logs, metrics and spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from protocol.errors import Fault

if TYPE_CHECKING:
    from engine.generation import Generation

Wire = Literal["http", "sse", "websocket"]

RequestOutcome = Literal["completed", "cancelled", "detached", "refused", "failed", "timed_out"]
"""`detached`: the reader left, and the generation runs on for whoever resumes it."""

TIMEOUT_STATUS = 504
"""The status of every error that means a request took too long."""

SERVER_FAULTS = frozenset({Fault.INTERNAL, Fault.ENGINE_DIED})
"""Errors the client could not have avoided. Any other error before the first token counts as `refused`."""


def outcome_of(generation: Generation) -> RequestOutcome:
    """The outcome of a request that ran `generation`."""
    if generation.outcome == "failed" and generation.error is not None:
        return "timed_out" if generation.error.fault.status == TIMEOUT_STATUS else "failed"
    return generation.outcome or "cancelled"


def outcome_of_error(fault: Fault) -> RequestOutcome:
    """The outcome of a request that was answered with `fault` before anything was generated."""
    if fault.status == TIMEOUT_STATUS:
        return "timed_out"
    return "failed" if fault in SERVER_FAULTS else "refused"
