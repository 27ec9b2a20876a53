"""The kinds of hostile connections: for each, its bytes from a seed, and how its client ends.

Does no I/O.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz import http1_bytes, http2_frames, websocket_frames
from tests.fuzz.connections import Ending

CHAT: dict[str, Any] = {"model": "guide", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
BASES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "guide", "prompt": "Hello", "max_tokens": 2},
    "/v1/embeddings": {"model": "all-MiniLM-L6-v2", "input": "Hello"},
    "/v1/rerank": {"model": "all-MiniLM-L6-v2", "query": "Hello", "documents": ["a", "b"]},
}
"""For each route that takes a body, a request that is right."""
CHAT_PATH = "/v1/chat/completions"


def posted(path: str, body: bytes) -> bytes:
    """One request, after which the server closes."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


SEQUENCES: dict[str, Callable[[random.Random], Iterator[bytes]]] = {
    "http1": http1_bytes.sequences,
    "http2": http2_frames.sequences,
    "websocket": websocket_frames.sequences,
}
MADE = ("bodies", "schemas")
"""These are single requests, which come from processes of their own: `tests.fuzz.bodies`."""
KINDS = (*SEQUENCES, *MADE)


def ending(kind: str, rng: random.Random) -> Ending:
    """Where there is one whole request, its answer is waited for; other clients end in one way or another."""
    if kind in MADE:
        return "answer" if rng.random() < 0.9 else "abort"
    return "eof" if rng.random() < 0.7 else "abort"
