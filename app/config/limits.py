"""The options that share the engine out: how long one request may take, and how much one client.

Does not know the other options, which `app.config.settings` adds, nor what enforces these.
"""

from __future__ import annotations

from pydantic import BaseModel

from app.config.field import LIMITS, option


class LimitOptions(BaseModel):
    """A part of `app.config.settings.Settings`."""

    first_token_timeout_s: float | None = option(
        LIMITS,
        None,
        "How many seconds a request may be without its first token; then it is ended with an error.",
        shown="no limit",
        metavar="SECONDS",
        gt=0,
    )
    requests_per_minute: int | None = option(
        LIMITS,
        None,
        "How many requests one client may make in a minute: one API key, or one address where there are no keys.",
        shown="no limit",
        ge=1,
    )
    tokens_per_minute: int | None = option(
        LIMITS,
        None,
        "How many tokens one client may use in a minute, those of prompts and of answers together.",
        shown="no limit",
        ge=1,
    )
    max_running_per_key: int | None = option(
        LIMITS,
        None,
        "How many sequences of one client the engine computes at a time; more of its requests wait.",
        shown="seven eighths of max-num-seqs where there are several API keys, else all",
        ge=1,
    )
    request_timeout_s: float | None = option(
        LIMITS,
        None,
        "How many seconds a whole request may take; then it is ended with an error. A client may ask for less, by "
        "the header X-Request-Timeout.",
        shown="no limit",
        metavar="SECONDS",
        gt=0,
    )
    grammar_compile_timeout_s: float = option(
        LIMITS,
        2.0,
        "How many seconds of processor time a JSON schema may take to compile; then the request is refused.",
        metavar="SECONDS",
        ge=0.1,
        le=60,
    )
    grammar_memory_mib: int = option(
        LIMITS,
        256,
        "How many MiB of memory a JSON schema may take to compile; then the request is refused.",
        metavar="MIB",
        ge=16,
    )
