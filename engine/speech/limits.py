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
        Option(
            "The maximum size of a recording to transcribe, and of all sounds of a chat together, in bytes.", ge=1024
        ),
    ] = 25 * 1024 * 1024
    max_duration_s: Annotated[float, Option("The maximum length of a recording to transcribe.", ge=1, le=6 * 3600)] = (
        1500.0
    )
    max_chat_duration_s: Annotated[
        float, Option("The maximum length of all sounds of a chat together.", ge=1, le=3600)
    ] = 300.0
    max_requests: Annotated[
        int,
        Option(
            "The maximum number of requests with recordings that the server holds at a time, from their first byte to "
            "their end; further ones are refused. Each takes its file's size on disk and, while it is prepared, 64 kB "
            "of memory per second of sound.",
            ge=1,
        ),
    ] = 32
    max_decoders: Annotated[
        int, Option("The maximum number of recordings decoded at a time, each in a separate process.", ge=1)
    ] = 2
    decode_timeout_s: Annotated[
        float,
        Option("How much CPU time decoding a recording may take before the request is refused.", ge=1, le=600),
    ] = 30.0
    decode_memory_mib: int = 512
    """Of memory, for decoding one recording."""
    wall_factor: int = 4
    """How many times `decode_timeout_s` may pass on the clock, to allow for a busy machine."""
