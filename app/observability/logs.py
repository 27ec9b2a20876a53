"""Sets up structlog: one line per event, as JSON or for people."""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal, TextIO, cast

import structlog

from app.observability.screen import Screen

# Without local variables, which both of structlog's defaults show: they include prompts and keys.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def set_up_logs(log_format: Literal["auto", "json", "console"], level: str) -> Screen:
    """Configure structlog for this process; lines go to standard error, which is returned."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    for_people = log_format == "console" or (log_format == "auto" and is_terminal)
    # At level debug, all that is written is shown, by any process.
    screen = Screen(is_live=for_people and is_terminal and level != "debug" and os.environ.get("TERM") != "dumb")
    renderer: structlog.types.Processor
    if for_people:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            screen.leave_out,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if for_people else [_tracebacks]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, screen)),
        cache_logger_on_first_use=True,
    )
    return screen
