"""Clients of a certain API server. The system picks one for each connection, and a chat's id says which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from app.generation.replay.elsewhere import whereabouts_of
from tests.live.servers.server import MODEL

SOON_S = 60.0
TRIES = 64
"""That one of two never comes up happens once in 2**64 times."""
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@contextmanager
def client_of(url: str, number: int, key: str) -> Iterator[httpx.Client]:
    """A client whose only connection is to the API server of that number. Each try costs a request of `key`."""
    for _ in range(TRIES):
        limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
        with httpx.Client(base_url=url, timeout=SOON_S, limits=limits) as client:
            answer = client.post("/v1/chat/completions", json=CHAT, headers={"Authorization": f"Bearer {key}"})
            place = whereabouts_of(answer.json()["id"])
            if place is not None and place.number == number:
                yield client
                return
    pytest.fail(f"no connection led to API server {number}")
