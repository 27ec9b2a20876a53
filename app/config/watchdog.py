"""The options by which the engine is watched, and requests are traced.

Does not know the other options, which `app.config.settings` adds, nor what watches.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel

from app.config.field import ENGINE, LOGGING, option


def _check_url(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError(f"must be a URL like http://127.0.0.1:4318, got {url[:60]!r}")
    return url


class WatchOptions(BaseModel):
    """A part of `app.config.settings.Settings`."""

    heartbeat_interval_s: float = option(
        ENGINE,
        30.0,
        "After how many seconds without work the engine has to generate one token, and the embedder to embed a "
        "letter, to show that they still can; 0 never.",
        metavar="SECONDS",
        ge=0,
    )
    stall_timeout_s: float = option(
        ENGINE,
        120.0,
        "How many seconds an engine or embedder that has work may take no step; then it is ended, and a new one is "
        "started. A step computes a token for each running request, or a bounded part of a long prompt. It must be "
        "longer than the longest step; 0 never ends an engine.",
        metavar="SECONDS",
        ge=0,
    )

    otlp_endpoint: Annotated[str, AfterValidator(_check_url)] | None = option(
        LOGGING,
        None,
        "Where to send traces: the URL of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "http://127.0.0.1:4318. It needs the extra otel.",
        shown="nowhere",
        metavar="URL",
    )
