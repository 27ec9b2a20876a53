"""Many texts and many clients at once: everybody gets their own vectors, and nobody waits for long."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.clients.bad import error_of
from tests.live.real.embeddings.embedder import (
    EMBED,
    MODEL,
    TOLERANCE,
    farthest,
    find_embedder,
    in_embedder,
    post,
    vectors,
)
from tests.live.servers.server import START_TIMEOUT_S, Server

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

pytestmark = [pytest.mark.timeout(2 * START_TIMEOUT_S)]


def test_many_clients_at_once_each_get_their_own(embedder: Server, reference: Any) -> None:
    texts = [f"text {'and more ' * (number % 13)}{number}" for number in range(96)]
    expected = reference.encode(texts)
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        found[number] = vectors(embedder, input=texts[number])[0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert farthest([found[number] for number in range(len(texts))], expected) < TOLERANCE


def test_ten_thousand_texts_in_one_call(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = [" ".join("abcdefg"[number // 7**place % 7] for place in range(5)) for number in range(10_000)]
    started = time.monotonic()
    answer = embedder.sdk().with_options(timeout=170).embeddings.create(model="small", input=texts)
    print(f"10,000 texts took {time.monotonic() - started:.1f} s")
    assert len(answer.data) == len(texts)
    some = [0, 63, 64, 5000, 9999]
    got = [answer.data[index].embedding for index in some]
    assert farthest(got, model.encode([texts[index] for index in some])) < TOLERANCE
    assert error_of(post(embedder, EMBED, model="small", input=[*texts, "one more"]))["param"] == "input"


def test_a_huge_call_does_not_keep_others_waiting(embedder: Server) -> None:
    with httpx.Client(timeout=170) as client, Leaving(embedder, ["word " * 100] * 5000):
        asked_at = time.monotonic()
        answer = client.post(f"{embedder.url}{EMBED}", json={"model": MODEL, "input": "x"})
        waited_s = time.monotonic() - asked_at
        assert answer.status_code == 200
        # The huge request is far from done.
        assert in_embedder(embedder) == 5000
        print(f"beside 5,000 texts, one took {waited_s:.2f} s")


class Leaving:
    """A client that sends many texts on a bare connection, and leaves when the block ends."""

    def __init__(self, server: Server, texts: list[str]) -> None:
        self._server = server
        self._request = httpx.Request("POST", f"{server.url}{EMBED}", json={"model": MODEL, "input": texts})

    def __enter__(self) -> None:
        body = self._request.read()
        head = (
            f"POST {EMBED} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._socket = socket.create_connection(("127.0.0.1", self._server.port))
        self._socket.sendall(head.encode() + body)
        self._server.wait_until(lambda: in_embedder(self._server) > 0, 30, "the texts did not arrive")

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()


def test_a_client_that_leaves_ends_its_work(embedder: Server) -> None:
    with Leaving(embedder, ["word " * 200] * 2000):
        assert in_embedder(embedder) == 2000
    embedder.wait_until(lambda: in_embedder(embedder) == 0, 2, "its texts are still there")
    # The process has nothing left to do either: the next request does not wait.
    started = time.monotonic()
    vectors(embedder, input="x")
    assert embedder.metric("twowire_embedded_texts_total", model=MODEL) > 0
    idle = find_embedder(embedder)
    before = idle.cpu_times().user
    embedder.wait_until(lambda: time.monotonic() - started > 1, 5, "a second")
    assert idle.cpu_times().user - before < 0.5
