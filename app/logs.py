"""Sets up structlog: one line per event, as JSON or for people.

Does not know what is logged. Prompts and answers never are.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

# Without the local variables that both of structlog's own defaults show: prompts and keys are among them.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def set_up_logs(log_format: Literal["auto", "json", "console"], level: str) -> None:
    """Configure structlog for this process; lines go to standard error."""
    for_people = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor
    if for_people:
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if for_people else [_tracebacks]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
