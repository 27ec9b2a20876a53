"""The APIs that generate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protocol.collector import Answer, chat_answer, completion_answer
from protocol.encoder import ChatChunks, ChunkEncoder, CompletionChunks


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the routes' answers."""

    id_prefix: str
    chunks: Callable[..., ChunkEncoder]
    answer: Callable[..., Answer]


CHAT = Shape("chatcmpl-", ChatChunks, chat_answer)
COMPLETION = Shape("cmpl-", CompletionChunks, completion_answer)
