"""Limits of WebSockets, and of resumable generations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.option import Option


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """What one WebSocket may do. `connection.ready` tells the client all of it."""

    max_message_bytes: Annotated[
        int, Option("The maximum size of a message that a WebSocket client may send.", ge=1024)
    ] = 8 << 20
    max_messages_per_s: Annotated[
        int,
        Option(
            "The maximum number of messages per second from one WebSocket; a burst may have twice as many.",
            metavar="N",
            ge=1,
        ),
    ] = 200
    max_running: Annotated[
        int, Option("The maximum number of generations running at a time on one WebSocket; further ones wait.", ge=1)
    ] = 16
    max_waiting: Annotated[
        int, Option("The maximum number of generations waiting on one WebSocket; further ones are refused.", ge=0)
    ] = 32
    ping_interval_s: Annotated[float, Option("The interval at which the server sends ping messages.", gt=0)] = 25.0
    idle_timeout_s: Annotated[
        float, Option("After this many seconds without a message from the client, a WebSocket is closed.", gt=0)
    ] = 60.0
    send_timeout_s: Annotated[
        float,
        Option(
            "After this many seconds, a client that reads nothing from its WebSocket is disconnected and its "
            "generations cancelled.",
            gt=0,
        ),
    ] = 15.0
    unused_timeout_s: Annotated[
        float,
        Option("After this many seconds without a request, a WebSocket is closed; heartbeats do not count.", gt=0),
    ] = 86_400.0
    max_age_s: Annotated[
        float, Option("After this many seconds, a WebSocket is closed, even if generations are running on it.", gt=0)
    ] = 86_400.0
    max_prefills: Annotated[
        int,
        Option(
            "How many prompts per WebSocket are read ahead at a time, while their users are still typing: 1, or 0 to "
            "turn this off. Requires --enable-prefix-caching.",
            ge=0,
            le=1,
        ),
    ] = 1
    resume_grace_max_s: float = 120.0
    """The replay buffer's `grace_max_s`."""


@dataclass(frozen=True, slots=True)
class ChannelCapacity:
    """How many WebSockets the server holds."""

    max_connections: Annotated[int, Option("The maximum number of open WebSockets.", ge=1)] = 8192
    max_connections_per_key: Annotated[
        int,
        Option("The maximum number of open WebSockets per API key; without keys, for all clients together.", ge=1),
    ] = 4096


@dataclass(frozen=True, slots=True)
class ResumeLimits:
    """How long the chunks of resumable generations are kept, and how much memory they may take."""

    grace_max_s: Annotated[
        float,
        Option(
            "The maximum time that a resumable generation runs without a reader, whatever its client asked for.",
            gt=0,
        ),
    ] = 120.0
    keep_finished_s: Annotated[
        float, Option("How long the chunks of a finished resumable generation are kept.", gt=0)
    ] = 120.0
    log_max_bytes: Annotated[int, Option("The maximum memory for one resumable generation, in bytes.", ge=4096)] = (
        4 << 20
    )
    logs_max_bytes: Annotated[int, Option("The maximum memory for all resumable generations, in bytes.", ge=4096)] = (
        256 << 20
    )
    owner_max_bytes: int | None = None
    """The memory for one API key's generations; None: as much as for all."""
