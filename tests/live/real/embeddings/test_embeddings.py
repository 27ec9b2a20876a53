"""The embedder behind a real socket, beside an engine that only counts: its vectors are sentence-transformers' own."""

from __future__ import annotations

import base64
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from app.server.wiring import DEFAULT_EMBEDDING_MODEL
from engine.registry import bundled_embedding_model
from tests.live.clients.bad import error_of
from tests.live.servers.server import START_TIMEOUT_S, Server, start_fake_server, stop_server

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

from tests.live.servers.small_models import make_encoder, make_ranker  # noqa: E402  # it needs sentence-transformers

pytestmark = [pytest.mark.timeout(2 * START_TIMEOUT_S)]

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
STALL_S = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    default = bundled_embedding_model()
    assert default is not None
    small = make_encoder(tmp_path_factory.mktemp("encoder"))
    return {MODEL: default, "small": small, "rank": make_ranker(tmp_path_factory.mktemp("ranker"))}


@pytest.fixture(scope="module")
def shared_embedder(folders: dict[str, Path]) -> Iterator[Server]:
    flags = [word for name in (MODEL, "small") for word in ("--embedding-model", f"{name}={folders[name]}")]
    flags += ["--embedding-truncate", "small=end"]
    server = start_fake_server("--embeddings", *flags, "--reranker", f"rank={folders['rank']}")
    server.wait_until(lambda: is_ready(server), START_TIMEOUT_S, "the embedder is not ready")
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


@pytest.fixture
def embedder(shared_embedder: Server) -> Iterator[Server]:
    """The shared server, with its embedder ready; fails the test that leaves a text behind in it."""
    shared_embedder.wait_until(lambda: is_ready(shared_embedder), START_TIMEOUT_S, "the embedder is not ready")
    yield shared_embedder
    assert shared_embedder.process.poll() is None
    shared_embedder.wait_until(lambda: not in_embedder(shared_embedder), 10, "texts were left behind")


@pytest.fixture(scope="module")
def reference(folders: dict[str, Path]) -> Any:
    return sentence_transformers.SentenceTransformer(str(folders[MODEL]), device="cpu")


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


# -- the same vectors -------------------------------------------------------------------------------------------------


def test_the_sdk_gets_the_vectors_of_sentence_transformers(embedder: Server, reference: Any) -> None:
    client, expected = embedder.sdk(), reference.encode(TEXTS)
    default = client.embeddings.create(model=MODEL, input=TEXTS)
    as_float = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    for answer in (default, as_float):
        assert [item.index for item in answer.data] == list(range(len(TEXTS)))
        assert farthest([item.embedding for item in answer.data], expected) < TOLERANCE
    counted = reference.tokenizer(TEXTS)["input_ids"]
    assert default.usage.prompt_tokens == default.usage.total_tokens == sum(len(ids) for ids in counted)


async def test_the_async_sdk_does_too(embedder: Server, reference: Any) -> None:
    async with embedder.async_sdk() as client:
        answer = await client.embeddings.create(model=MODEL, input=TEXTS[0])
        assert farthest([item.embedding for item in answer.data], reference.encode(TEXTS[:1])) < TOLERANCE


def test_base64_is_of_float32(embedder: Server, reference: Any) -> None:
    answer = post(embedder, EMBED, model=MODEL, input="x", encoding_format="base64").json()
    vector = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    assert farthest(vector, reference.encode("x")) < TOLERANCE


def test_token_ids_that_are_the_models_own_are_texts(embedder: Server, reference: Any) -> None:
    whole = [reference.tokenizer(text)["input_ids"] for text in TEXTS[:4]]
    expected = reference.encode(TEXTS[:4])
    assert farthest(vectors(embedder, input=whole), expected) < TOLERANCE
    assert farthest(vectors(embedder, input=whole[0]), expected[:1]) < TOLERANCE
    bare = reference.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    error = error_of(post(embedder, EMBED, model=MODEL, input=[bare]))
    assert "--embedding-token-ids allow" in str(error["message"])


def test_a_long_text_is_refused_or_cut(embedder: Server, reference: Any) -> None:
    long = ["fine", "word " * 1000]
    error = error_of(post(embedder, EMBED, model=MODEL, input=long))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")
    assert "256" in str(error["message"])
    assert "--embedding-truncate end" in str(error["message"])
    assert error_of(post(embedder, EMBED, model=MODEL, input=long[1]))["param"] == "input"
    answer = post(embedder, EMBED, model=MODEL, input=long, truncate="end").json()
    assert farthest([item["embedding"] for item in answer["data"]], reference.encode(long)) < TOLERANCE
    assert answer["usage"]["prompt_tokens"] == 3 + 256


def test_a_server_may_be_told_to_cut(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = ["short", "the sky is blue " * 400]
    assert farthest(vectors(embedder, model="small", input=texts), model.encode(texts)) < TOLERANCE
    error = error_of(post(embedder, EMBED, model="small", input=texts, truncate="none"))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")


def test_megabytes_are_cut_as_a_little_is(embedder: Server, reference: Any) -> None:
    for text in ("word " * 200_000, "a" * 1_000_000, "日" * 1_000_000, " x" * 500_000):
        cut = vectors(embedder, input=text, truncate="end")
        assert farthest(cut, reference.encode([text])) < TOLERANCE


def test_prompts_are_put_in_front(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = ["the sky is blue", "grass"]
    for fields, prompt_name in (
        ({"task": "query"}, "query"),
        ({"task": "passage"}, "passage"),
        ({"task": "document"}, "passage"),
        ({"prompt_name": "query"}, "query"),
        ({}, None),
    ):
        expected = model.encode(texts, prompt_name=prompt_name)
        assert farthest(vectors(embedder, model="small", input=texts, **fields), expected) < TOLERANCE
    error = error_of(post(embedder, EMBED, model="small", input="x", prompt_name="nothing"))
    assert error["param"] == "prompt_name"


def test_vectors_are_shortened_where_the_model_was_trained_for_it(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = ["the sky is blue", "grass"]
    expected = model.encode(texts, truncate_dim=8, normalize_embeddings=True)
    assert farthest(vectors(embedder, model="small", input=texts, dimensions=8), expected) < TOLERANCE
    assert farthest(vectors(embedder, model="small", input=texts, dimensions=32), model.encode(texts)) < TOLERANCE
    error = error_of(post(embedder, EMBED, model=MODEL, input="x", dimensions=8))
    assert (error["code"], error["param"]) == ("invalid_value", "dimensions")
    assert vectors(embedder, input="x", dimensions=384).shape == (1, 384)


def test_vectors_are_scaled_as_is_asked(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    expected = model.encode(["the sky"], normalize_embeddings=True)
    assert farthest(vectors(embedder, model="small", input="the sky", normalize=True), expected) < TOLERANCE
    assert abs(np.linalg.norm(vectors(embedder, input="x", normalize=False)) - 1) > 0.5


def test_langchain_gets_the_same(embedder: Server, reference: Any) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")
    # By default LangChain cuts texts with tiktoken, whose token ids are another model's.
    client = langchain.OpenAIEmbeddings(
        base_url=f"{embedder.url}/v1", api_key="unused", model=MODEL, check_embedding_ctx_length=False
    )
    assert farthest(client.embed_documents(TEXTS), reference.encode(TEXTS)) < TOLERANCE
    assert farthest(client.embed_query(TEXTS[0]), reference.encode(TEXTS[0])) < TOLERANCE


def test_llama_index_gets_the_same(embedder: Server, reference: Any) -> None:
    llama_index = pytest.importorskip(
        "llama_index.embeddings.openai_like",
        reason="not in the lock, it brings too much: pip install llama-index-embeddings-openai-like",
    )
    client = llama_index.OpenAILikeEmbedding(
        model_name=MODEL, api_base=f"{embedder.url}/v1", api_key="unused", embed_batch_size=3
    )
    # It makes one line of each text before it sends it.
    texts = [text.replace("\n", " ") for text in TEXTS]
    assert farthest(client.get_text_embedding_batch(texts), reference.encode(texts)) < TOLERANCE


# "Hello" with an id beyond the vocabulary, "cat", "Hello world", "the price of oil": cl100k_base.
@pytest.mark.parametrize("ids", [[9906, 100_000], [4719], [9906, 1917], [1820, 3430, 315, 5707]])
def test_token_ids_of_tiktoken_are_refused_with_the_remedy(embedder: Server, ids: list[int]) -> None:
    error = error_of(post(embedder, EMBED, model=MODEL, input=[ids]))
    assert (error["code"], error["param"]) == ("invalid_value", "input[0]")
    assert "check_embedding_ctx_length" in str(error["message"])


def test_documents_are_ranked_as_sentence_transformers_does(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.CrossEncoder(str(folders["rank"]), device="cpu")
    query, documents = "what colour has the sky", ["grass is green", "the sky is blue", "a b c " * 40, "d"]
    expected = model.predict([(query, document) for document in documents])
    answer = post(embedder, RANK, model="rank", query=query, documents=documents, return_documents=True)
    results = answer.json()["results"]
    assert [result["index"] for result in results] == sorted(range(4), key=lambda index: -expected[index])
    for result in results:
        assert abs(result["relevance_score"] - expected[result["index"]]) < TOLERANCE
        assert result["document"]["text"] == documents[result["index"]]
    error = error_of(post(embedder, RANK, model="rank", query=query, documents=documents, truncate="none"))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "documents[2]")


def test_all_models_are_listed(embedder: Server) -> None:
    assert [model.id for model in embedder.sdk().models.list()] == ["guide", MODEL, "small", "rank"]


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


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_ten_thousand_texts_in_one_call(embedder: Server, reference: Any) -> None:
    texts = [f"n {number}" for number in range(10_000)]
    started = time.monotonic()
    answer = embedder.sdk().with_options(timeout=170).embeddings.create(model=MODEL, input=texts)
    print(f"10,000 texts took {time.monotonic() - started:.1f} s")
    assert len(answer.data) == len(texts)
    some = [0, 63, 64, 5000, 9999]
    got = [answer.data[index].embedding for index in some]
    assert farthest(got, reference.encode([texts[index] for index in some])) < TOLERANCE
    assert error_of(post(embedder, EMBED, model=MODEL, input=[*texts, "one more"]))["param"] == "input"


def test_a_huge_call_does_not_keep_others_waiting(embedder: Server) -> None:
    with httpx.Client(timeout=170) as client, Leaving(embedder, ["word " * 100] * 5000):
        asked_at = time.monotonic()
        answer = client.post(f"{embedder.url}{EMBED}", json={"model": MODEL, "input": "x"})
        waited_s = time.monotonic() - asked_at
        assert answer.status_code == 200
        # The huge one is far from done.
        assert in_embedder(embedder) == 5000
        print(f"beside 5,000 texts, one took {waited_s:.2f} s")


class Leaving:
    """A client that sends many texts on a bare connection, and leaves when the block ends."""

    def __init__(self, server: Server, texts: list[str]) -> None:
        self._server = server
        self._request = httpx.Request("POST", f"{server.url}{EMBED}", json={"model": MODEL, "input": texts})

    def __enter__(self) -> None:
        import socket

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
    # The process has nothing left to do either: the next one does not wait behind what is left.
    started = time.monotonic()
    vectors(embedder, input="x")
    assert embedder.metric("twowire_embedded_texts_total", model=MODEL) > 0
    idle = find_embedder(embedder)
    before = idle.cpu_times().user
    embedder.wait_until(lambda: time.monotonic() - started > 1, 5, "a second")
    assert idle.cpu_times().user - before < 0.5


@pytest.mark.slow
def test_a_killed_process_ends_every_request_and_is_replaced(embedder: Server) -> None:
    restarts = embedder.metric("twowire_embedder_restarts")
    answers: list[httpx.Response] = []
    long = ["word " * 200] * 300
    threads = [
        threading.Thread(target=lambda: answers.append(post(embedder, EMBED, model=MODEL, input=long)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    embedder.wait_until(lambda: in_embedder(embedder) == 900, 30, "the requests do not run")
    with httpx.stream("POST", f"{embedder.url}/v1/chat/completions", json=CHAT, timeout=60) as chat:
        lines = chat.iter_lines()
        next(lines)
        old = find_embedder(embedder)
        old.kill()
        for thread in threads:
            thread.join(5)
        assert [answer.status_code for answer in answers] == [503] * 3
        for answer in answers:
            assert answer.json()["error"]["code"] == "engine_died"
            assert int(answer.headers["retry-after"]) >= 1
        refused = post(embedder, EMBED, model=MODEL, input="x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_not_ready")
        assert embedder.is_ready(), "the chats' health is not the embedder's"
        embedder.wait_until(lambda: is_ready(embedder), START_TIMEOUT_S, "the embedder did not come back")
        for _ in range(20):
            next(lines)
    assert embedder.metric("twowire_embedder_restarts") == restarts + 1
    assert vectors(embedder, input="x").shape == (1, 384)
    assert find_embedder(embedder).pid != old.pid


BAD: list[tuple[str, dict[str, Any], str, str | None]] = [
    (EMBED, {"input": ""}, "invalid_value", "input"),
    (EMBED, {"input": []}, "invalid_value", "input"),
    (EMBED, {"input": ["x"] * 20_000}, "invalid_value", "input"),
    (EMBED, {"input": "x" * 10_000_000}, "invalid_value", "input"),
    (EMBED, {"input": [[5, 10**6]]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [5, 30_522]}, "invalid_value", "input"),
    (EMBED, {"input": [-1]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [2**63]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [[]]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [1.5]}, "invalid_type", "input[0]"),
    (EMBED, {"input": [None]}, "invalid_type", "input[0]"),
    (EMBED, {"input": ["word " * 500]}, "context_length_exceeded", "input[0]"),
    (EMBED, {"input": [[101, *[5] * 300, 102]]}, "context_length_exceeded", "input[0]"),
    (EMBED, {"input": [[5] * 3]}, "invalid_value", "input[0]"),
    (EMBED, {"dimensions": 0}, "invalid_value", "dimensions"),
    (EMBED, {"dimensions": 385}, "invalid_value", "dimensions"),
    (EMBED, {"dimensions": 10**30}, "invalid_value", "dimensions"),
    (EMBED, {"dimensions": True}, "invalid_type", "dimensions"),
    (EMBED, {"encoding_format": "int8"}, "invalid_value", "encoding_format"),
    (EMBED, {"prompt_embeds": "AAAA"}, "unsupported_parameter", "prompt_embeds"),
    (EMBED, {"model": "guide"}, "model_not_found", "model"),
    (EMBED, {"model": "rank"}, "model_not_found", "model"),
    (RANK, {"model": MODEL}, "model_not_found", "model"),
    (RANK, {"documents": ["x"] * 20_000}, "invalid_value", "documents"),
    (RANK, {"documents": []}, "invalid_value", "documents"),
    (RANK, {"top_n": 0}, "invalid_value", "top_n"),
]
BASE: dict[str, dict[str, Any]] = {
    EMBED: {"model": MODEL, "input": "x"},
    RANK: {"model": "rank", "query": "x", "documents": ["y"]},
}


def test_bad_input_is_refused_by_name_and_a_chat_goes_on(embedder: Server, subtests: pytest.Subtests) -> None:
    with httpx.stream("POST", f"{embedder.url}/v1/chat/completions", json=CHAT, timeout=60) as chat:
        lines = chat.iter_lines()
        for path, fields, code, param in BAD:
            with subtests.test(path=path, fields=str(fields)[:60]):
                error = error_of(post(embedder, path, **(BASE[path] | fields)))
                assert (error["code"], error["param"]) == (code, param)
            next(lines)
    for path, body in BASE.items():
        assert post(embedder, path, **body).status_code == 200


def test_odd_texts_are_embedded(embedder: Server, reference: Any) -> None:
    texts = [" ", "\u200b", "\ufeff", "[CLS] [SEP] [PAD]", "\U0010ffff", "é" * 999, "a\u0301" * 50, "\r\n"]
    got = vectors(embedder, input=texts, truncate="end")
    assert farthest(got, reference.encode(texts)) < TOLERANCE


# -- the start and the end --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_leaves_the_chats_alone(tmp_path: Path) -> None:
    # Whole, as far as that can be seen without loading it: otherwise the server does not start.
    (tmp_path / "config.json").write_text('{"model_type": "nosuch"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    server = start_fake_server("--embeddings", "--embedding-model", f"broken={tmp_path}")
    try:
        server.wait_until(
            lambda: server.metric("twowire_embedder_state", state="failed"), START_TIMEOUT_S, "it did not fail"
        )
        answer = post(server, EMBED, model="broken", input="x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_ready")
        assert "broken" in answer.json()["error"]["message"]
        assert server.is_ready()
        assert any("there are no embeddings" in line for line in server.log)
    finally:
        assert stop_server(server) == 0


@pytest.mark.slow
@pytest.mark.slow
def test_one_that_hangs_is_replaced_and_its_clients_are_told() -> None:
    # At the least priority, it would stand still for as long beside other tests.
    flags = ("--embedding-nice", "0", "--stall-timeout-s", str(STALL_S), "--heartbeat-interval-s", "1")
    server = start_fake_server("--embeddings", *flags)
    try:
        server.wait_until(lambda: is_ready(server), START_TIMEOUT_S, "the embedder is not ready")
        server.wait_until(lambda: server.metric("twowire_embedder_heartbeats_total") > 0, 60, "it has no heartbeat")
        # A stopped process is there, its socket is open, and nothing comes back.
        find_embedder(server).send_signal(signal.SIGSTOP)
        answer = post(server, EMBED, model=MODEL, input="x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_died")
        assert httpx.get(f"{server.url}/health").json()["embedder"]["state"] == "restarting"
        server.wait_until(lambda: is_ready(server), START_TIMEOUT_S, "the embedder was not replaced")
        assert server.metric("twowire_embedder_hangs_total") == 1
        assert post(server, EMBED, model=MODEL, input="x").status_code == 200
    finally:
        stop_server(server)


def test_a_server_that_is_killed_leaves_no_embedder_behind() -> None:
    server = start_fake_server("--embeddings")
    try:
        server.wait_until(lambda: is_ready(server), START_TIMEOUT_S, "the embedder is not ready")
        embedder = find_embedder(server)
        server.process.kill()
        psutil.wait_procs([embedder], timeout=10)
        assert not embedder.is_running()
    finally:
        stop_server(server)
