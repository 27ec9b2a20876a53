"""What recordings may cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.option import Option


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """How large and long recordings may be, and what decoding them may take."""

    max_file_bytes: Annotated[
        int,
        Option("The largest recording to transcribe, in bytes; the largest sound of a chat, all together.", ge=1024),
    ] = 25 * 1024 * 1024
    max_duration_s: Annotated[
        float, Option("How many seconds a recording to transcribe may last.", ge=1, le=6 * 3600)
    ] = 1500.0
    max_chat_duration_s: Annotated[
        float, Option("How many seconds the sounds of a chat may last, all together.", ge=1, le=3600)
    ] = 300.0
    max_requests: Annotated[
        int,
        Option(
            "How many requests with recordings the server holds at a time, from their first byte to their end; further "
            "ones are refused. Each takes its file's size on disk and, while it is prepared, 64 kB for each second.",
            ge=1,
        ),
    ] = 32
    max_decoders: Annotated[
        int, Option("How many recordings are decoded at a time, each in a process of its own.", ge=1)
    ] = 2
    decode_timeout_s: Annotated[
        float,
        Option(
            "How many seconds of CPU time decoding one recording may take; then the request is refused.", ge=1, le=600
        ),
    ] = 30.0
    decode_memory_mib: int = 512
    """Of memory, for decoding one recording."""
    wall_factor: int = 4
    """How many times `decode_timeout_s` may pass on the clock, to allow for a busy machine."""
