"""A client that cancels a chat at another address than the one where it began."""

from __future__ import annotations

import json

import httpx

from tests.live.servers.server import MODEL

SOON_S = 60.0


def cancelled_elsewhere(began_at: str, cancelled_at: str, key: str, other_key: str) -> None:
    """A chat that begins at one address is cancelled at another one by its id, but not with another key."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10**6, "stream": True}
    headers = {"Authorization": f"Bearer {key}"}
    path = f"{began_at}/v1/chat/completions"
    with httpx.stream("POST", path, json=body, headers=headers, timeout=SOON_S) as answer:
        lines = answer.iter_lines()
        name = json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))["id"]
        # Each on a connection of its own: with several API servers, any of them may get it.
        for used, status in ((other_key, 404), (key, 200)):
            headers = {"Authorization": f"Bearer {used}"}
            asked = httpx.delete(f"{cancelled_at}/v1/chat/completions/{name}", headers=headers, timeout=SOON_S)
            assert asked.status_code == status
        assert [line for line in lines if line][-1] == "data: [DONE]"
