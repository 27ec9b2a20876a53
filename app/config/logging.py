"""Log lines and traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from app.config.values import check_url
from engine.option import Option


@dataclass(frozen=True, slots=True)
class Logging:
    """How the server reports what it does."""

    otlp_endpoint: Annotated[
        str | None,
        Option(
            "Where to send traces: the URL of an OpenTelemetry collector that accepts OTLP over HTTP, such as "
            "http://127.0.0.1:4318. Requires the extra otel.",
            shown="nowhere",
            metavar="URL",
            check=check_url,
        ),
    ] = None
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Option("The format of log lines; auto is console on a terminal and json elsewhere."),
    ] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Option("The lowest level to log.")] = "info"
