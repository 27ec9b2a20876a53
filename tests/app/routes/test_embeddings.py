"""The routes of the embedder, on a fake one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from quart import Quart
from structlog.testing import capture_logs

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from tests.engine.embeddings.fake_embedder import FakeBackend, FakeEmbedderFactory, fake_embedder, until
from tests.engine.fakes import FakeFactory

KEYS = {"one": "a-key-for-tests-0123456789", "two": "another-key-for-tests-01234"}
EMBED, RANK, SCORE = "/v1/embeddings", "/v1/rerank", "/v1/score"
BODIES: dict[str, dict[str, Any]] = {
    EMBED: {"model": "small", "input": ["a", "bb"]},
    RANK: {"model": "rank", "query": "q", "documents": ["a", "ccc", "bb"]},
    SCORE: {"model": "rank", "text_1": "q", "text_2": ["a", "ccc", "bb"]},
}


@asynccontextmanager
async def served(
    truncated: Sequence[str] = (), backoff_first_s: float = 0.01, **environ: str
) -> AsyncIterator[tuple[Quart, FakeBackend]]:
    """The app with a fake embedder that is ready, and what that runs."""
    factory = FakeEmbedderFactory()
    embedder = fake_embedder(factory, truncated=truncated, backoff_first_s=backoff_first_s)
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    app = create_app(make_services(load_settings(["--served-model-name", "chat"], environ), manager, embedder))
    async with app.test_app():
        await embedder.wait_settled()
        yield app, factory.backends[0]


async def post(app: Quart, path: str, key: str | None = None, **fields: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {KEYS[key]}"} if key else {}
    answer = await app.test_client().post(path, json=BODIES[path] | fields, headers=headers)
    return answer.status_code, orjson.loads(await answer.get_data(as_text=False))


async def test_texts_become_vectors() -> None:
    async with served() as (app, backend):
        status, answer = await post(app, EMBED, dimensions=4, truncate="end", task="query", normalize=True, user="me")
        assert status == 200
        assert [item["embedding"] for item in answer["data"]] == [[1.0], [2.0]]
        assert answer["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
        job = backend.jobs[0]
        assert (job.dimensions, job.truncate, job.task, job.normalize, job.base64) == (4, True, "query", True, False)


async def test_documents_are_ranked() -> None:
    async with served() as (app, _):
        status, answer = await post(app, RANK)
        assert status == 200
        assert [result["index"] for result in answer["results"]] == [1, 2, 0]
        assert answer["id"].startswith("rerank-")


async def test_an_answer_of_many_texts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.embeddings.ASIDE_TEXTS", 2)
    async with served() as (app, _):
        assert [item["index"] for item in (await post(app, EMBED))[1]["data"]] == [0, 1]


CHAT = "/v1/chat/completions"
COMPLETE = "/v1/completions"


@pytest.mark.parametrize(
    ("path", "model", "words"),
    [
        (EMBED, "rank", "'rank' is for rerank (/v1/rerank), not for embeddings. Available: small, nested, any."),
        (
            EMBED,
            "chat",
            "'chat' is for chat (/v1/chat/completions), not for embeddings. Available: small, nested, any.",
        ),
        (RANK, "small", "'small' is for embeddings (/v1/embeddings), not for rerank. Available: rank."),
        (CHAT, "small", "'small' is for embeddings (/v1/embeddings), not for chat. Available: chat."),
        (COMPLETE, "rank", "'rank' is for rerank (/v1/rerank), not for chat. Available: chat."),
        (EMBED, "none", "not served here. Available: chat (chat), small (embeddings), nested (embeddings), any (embed"),
        (CHAT, "none", "not served here. Available: chat (chat), small (embeddings), nested (embeddings), any (embed"),
    ],
)
async def test_a_wrong_model_is_a_404_that_says_what_each_is_for(path: str, model: str, words: str) -> None:
    async with served() as (app, _):
        body = BODIES.get(path, {"messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}) | {"model": model}
        answer = await app.test_client().post(path, json=body)
        error = orjson.loads(await answer.get_data(as_text=False))["error"]
        assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert words in error["message"]


async def test_all_models_are_listed_with_what_they_are_for() -> None:
    async with served() as (app, _):
        client = app.test_client()
        listed = orjson.loads(await (await client.get("/v1/models")).get_data(as_text=False))
        assert [(model["id"], model["type"]) for model in listed["data"]] == [
            ("chat", "chat"),
            ("small", "embeddings"),
            ("nested", "embeddings"),
            ("any", "embeddings"),
            ("rank", "rerank"),
        ]
        one = await client.get("/v1/models/rank")
        assert orjson.loads(await one.get_data(as_text=False)) == listed["data"][-1]
        missing = orjson.loads(await (await client.get("/v1/models/no/thing")).get_data(as_text=False))
        assert "Available: chat (chat)" in missing["error"]["message"]


async def test_a_key_is_needed_and_is_who_shares() -> None:
    async with served(TWOWIRE_API_KEYS=",".join(KEYS.values())) as (app, backend):
        assert (await post(app, EMBED))[0] == 401
        for key in ("one", "two", "one"):
            assert (await post(app, EMBED, key))[0] == 200
        assert len(set(backend.clients)) == 2


async def test_a_refusal_by_the_embedder_is_the_answer() -> None:
    async with served() as (app, backend):
        backend.refusal = TwowireError(Fault.ENGINE_DIED, "It died.", retry_after_s=5)
        status, answer = await post(app, EMBED)
        assert (status, answer["error"]["code"]) == (503, "engine_died")


async def test_a_client_that_leaves_ends_the_work() -> None:
    async with served() as (app, backend):
        backend.go.clear()
        asking = asyncio.create_task(post(app, EMBED))
        async with asyncio.timeout(5):
            await backend.begun.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: backend.left == 1)


@pytest.mark.parametrize("path", [EMBED, RANK])
async def test_an_answer_that_is_late_is_a_504_and_the_work_is_left(path: str) -> None:
    async with served(TWOWIRE_FIRST_TOKEN_TIMEOUT_S="0.001") as (app, backend):
        # There is no first token to be late for.
        assert (await post(app, path))[0] == 200
        backend.go.clear()
        headers = {"X-Request-Timeout": "0.05"}
        async with asyncio.timeout(5):
            answer = await app.test_client().post(path, json=BODIES[path], headers=headers)
        assert answer.status_code == 504
        assert orjson.loads(await answer.get_data(as_text=False))["error"]["code"] == "deadline_exceeded"
        await until(lambda: backend.left == 1)


@pytest.mark.parametrize("path", [EMBED, RANK])
async def test_its_tokens_are_taken_when_it_is_done_and_then_count(path: str) -> None:
    async with served(TWOWIRE_TOKENS_PER_MINUTE="3") as (app, backend):
        assert (await post(app, path))[0] == 200
        status, answer = await post(app, path)
        assert (status, answer["error"]["type"]) == (429, "tokens")
        assert len(backend.jobs) == 1


LONG: dict[str, dict[str, Any]] = {
    EMBED: {"input": ["word " * 40] * 2},
    RANK: {"query": "wo", "documents": ["word " * 40] * 2},
}
"""About 100 tokens, where the model reads as many."""


async def left_tokens(app: Quart) -> int:
    answer = await app.test_client().post(EMBED, json={"model": "nothing", "input": "a"})
    return int(answer.headers["x-ratelimit-remaining-tokens"])


@pytest.mark.parametrize("path", [EMBED, RANK])
async def test_an_estimate_is_taken_before_the_work_and_put_right_after_it(path: str) -> None:
    fields = LONG[path] | {"model": "any" if path == EMBED else "rank"}
    async with served(TWOWIRE_TOKENS_PER_MINUTE="150") as (app, backend):
        backend.go.clear()
        first = asyncio.create_task(post(app, path, **fields))
        async with asyncio.timeout(5):
            await backend.begun.wait()
        others = await asyncio.gather(*(post(app, path, **fields) for _ in range(5)))
        assert [(status, answer["error"]["type"]) for status, answer in others] == [(429, "tokens")] * 5
        assert 40 <= await left_tokens(app) <= 60
        backend.go.set()
        assert (await first)[0] == 200
        # The fake one reads three tokens for each text.
        assert 140 <= await left_tokens(app) <= 150
        assert len(backend.jobs) == 1


async def test_who_leaves_early_pays_the_estimate_and_who_is_refused_nothing() -> None:
    fields = LONG[EMBED] | {"model": "any"}
    async with served(TWOWIRE_TOKENS_PER_MINUTE="150") as (app, backend):
        backend.refusal = TwowireError(Fault.ENGINE_DIED, "It died.", retry_after_s=5)
        assert (await post(app, EMBED, **fields))[0] == 503
        assert (await post(app, EMBED, **fields, dimensions=100))[0] == 400
        assert await left_tokens(app) == 150
        backend.go.clear()
        backend.begun.clear()
        asking = asyncio.create_task(post(app, EMBED, **fields))
        async with asyncio.timeout(5):
            await backend.begun.wait()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await until(lambda: backend.left == 1)
        assert await left_tokens(app) <= 60
        answer = await app.test_client().post(EMBED, json=BODIES[EMBED], headers={"X-Request-Timeout": "0.05"})
        assert answer.status_code == 504
        assert await left_tokens(app) <= 58


async def test_what_is_cut_is_not_reserved() -> None:
    async with served(TWOWIRE_TOKENS_PER_MINUTE="20") as (app, _):
        assert (await post(app, EMBED, input=["word " * 1000] * 2, truncate="end"))[0] == 200


async def test_what_was_done_is_counted_and_logged_without_the_texts() -> None:
    async with served() as (app, _):
        with capture_logs() as lines:
            await post(app, EMBED, input=["a secret"], made_up=1)
        (line,) = [line for line in lines if line["event"] == "request"]
        assert (line["model"], line["texts"], line["prompt_tokens"], line["status"]) == ("small", 1, 3, 200)
        assert "secret" not in str(lines)
        metrics = await (await app.test_client().get("/metrics")).get_data(as_text=True)
        assert 'twowire_embedded_texts_total{model="small"} 1.0' in metrics
        assert 'twowire_embedded_tokens_total{model="small"} 3.0' in metrics
        assert 'twowire_embedder_state{state="ready"} 1.0' in metrics
        assert "twowire_texts_in_embedder 0.0" in metrics
        assert 'twowire_unknown_fields_total{route="/v1/embeddings"} 1.0' in metrics


async def test_health_is_that_of_the_chats_and_tells_of_the_embedder() -> None:
    async with served(backoff_first_s=60) as (app, backend):
        client = app.test_client()

        async def health() -> Any:
            answer = await client.get("/health")
            assert answer.status_code == 200
            return (await answer.get_json())["embedder"]

        assert await health() == {"state": "ready", "reason": "ready"}
        backend.die("killed")
        async with asyncio.timeout(5):
            while (await health())["state"] == "ready":  # noqa: ASYNC110  # what is waited for has no event of its own
                await asyncio.sleep(0)
        found = await health()
        assert found["state"] == "restarting"
        metrics = await (await client.get("/metrics")).get_data(as_text=True)
        assert 'twowire_embedder_state{state="ready"} 0.0' in metrics
        assert "twowire_embedder_hangs_total 0.0" in metrics


async def test_a_request_that_does_not_say_is_cut_as_the_server_was_told() -> None:
    async with served(truncated=["small"]) as (app, backend):
        for model, fields in (
            ("small", {}),
            ("any", {}),
            ("small", {"truncate": "none"}),
            ("any", {"truncate": "end"}),
        ):
            assert (await post(app, EMBED, model=model, **fields))[0] == 200
        assert [job.truncate for job in backend.jobs] == [True, False, False, True]


async def test_scores_come_in_the_order_of_the_texts() -> None:
    async with served() as (app, backend):
        status, ranked = await post(app, RANK)
        assert status == 200
        by_index = {one["index"]: one["relevance_score"] for one in ranked["results"]}
        status, answer = await post(app, SCORE, truncate="none")
        assert status == 200
        assert [one["score"] for one in answer["data"]] == [by_index[index] for index in range(3)]
        assert [one["index"] for one in answer["data"]] == [0, 1, 2]
        assert (answer["object"], answer["usage"]) == ("list", ranked["usage"])
        assert answer["id"].startswith("score-")
        assert (backend.jobs[-1].query, backend.jobs[-1].truncate) == ("q", False)
        status, answer = await post(app, SCORE, text_2="one")
        assert (status, len(answer["data"])) == (200, 1)


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"text_1": ["a", "b"]}, "text_1"), ({"text_2": []}, "text_2"), ({"queries": "a"}, "queries")],
)
async def test_a_score_that_is_not_possible_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    async with served() as (app, _):
        status, answer = await post(app, SCORE, **fields)
        assert (status, answer["error"]["param"]) == (400, param)
