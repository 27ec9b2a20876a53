"""Helpers of the embedder's tests: requests to it, and measurements of it."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import psutil

from app.server.wiring import DEFAULT_EMBEDDING_MODEL
from tests.live.servers.server import Server

MODEL = DEFAULT_EMBEDDING_MODEL
EMBED, RANK = "/v1/embeddings", "/v1/rerank"
CHAT = {"model": "guide", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10**6, "stream": True}
TEXTS = [
    "The sky is blue.",
    "x",
    "  spaces \n and\ttabs ",
    "日本語のテキスト 🎉 ﬁ",
    "Ünïcödé ﷽",
    "a" * 300,
    "word " * 200,
    "How do I reset my password?",
]
TOLERANCE = 1e-5


def is_ready(server: Server) -> bool:
    return server.metric("twowire_embedder_state", state="ready") == 1


def in_embedder(server: Server) -> float:
    return server.metric("twowire_texts_in_embedder")


def find_embedder(server: Server) -> psutil.Process:
    (found,) = [one for one in server.engine_processes() if "engine.embeddings.worker" in one.cmdline()]
    return found


def post(server: Server, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=120)


def vectors(server: Server, **body: Any) -> Any:
    answer = post(server, EMBED, **({"model": MODEL} | body))
    assert answer.status_code == 200, answer.text[:300]
    return np.array([item["embedding"] for item in answer.json()["data"]])


def farthest(one: Any, other: Any) -> float:
    one, other = np.array(one), np.array(other)
    assert one.shape == other.shape
    return float(np.abs(one - other).max())
