"""The options by which the engine is watched, and requests are traced.

Does not know the other options, which `app.options` adds, nor what watches.
"""

from __future__ import annotations

from pydantic import BaseModel

from app.option_field import ENGINE, option


class WatchOptions(BaseModel):
    """A part of `app.options.Settings`."""

    heartbeat_interval_s: float = option(
        ENGINE,
        30.0,
        "After how long without work the engine is made to generate one token, to see that it still does; 0 never.",
        metavar="SECONDS",
        ge=0,
    )
    stall_timeout_s: float = option(
        ENGINE,
        120.0,
        "How long an engine that has work may take no step; then it is ended, and a new one is started. A step "
        "computes a token for each running request, or a bounded part of a long prompt. It must be longer than the "
        "longest step; 0 never ends an engine.",
        metavar="SECONDS",
        ge=0,
    )
