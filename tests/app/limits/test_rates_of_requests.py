"""Rate limits through the app: what requests cost on both wires, and the headers. On a fake engine."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from quart.wrappers.response import Response

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from app.services import Services
from app.stores.memory import MemoryStore
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import CREATED, DONE, Clock, open_harness
from tests.engine.fakes import FakeFactory, words

CHAT = {"model": "guide", "messages": [{"role": "user", "content": "hi"}]}
KEYS = {"a": "a-key-for-tests-0123456789", "b": "another-key-for-tests-01234"}
PROMPT_TOKENS = 3
"""Of any prompt on the fake engine."""


def services_with(*flags: str, keys: bool = True) -> Services:
    manager = EngineManager(FakeFactory(words("one", "two")), AdmissionLimits(1, 0))
    environ = {"TWOWIRE_API_KEYS": ",".join(KEYS.values())} if keys else {}
    return make_services(load_settings(list(flags), environ), manager)


def store_of(services: Services) -> MemoryStore:
    store = services.rates._store
    assert isinstance(store, MemoryStore)
    return store


def stop_the_clock(services: Services) -> None:
    """No bucket refills."""
    services.rates._clock = store_of(services)._clock = Clock()


async def post(client: Any, key: str | None = "a", path: str = "/v1/chat/completions", **more: Any) -> Response:
    headers = {"Authorization": f"Bearer {KEYS[key]}"} if key else {}
    answer: Response = await client.post(path, json=CHAT | more, headers=headers)
    return answer


async def error_of(answer: Response) -> Any:
    return orjson.loads(await answer.get_data(as_text=False))["error"]


async def test_a_refusal_comes_before_the_body_and_a_key_has_its_own_account() -> None:
    services = services_with("--requests-per-minute", "2")
    async with (app := create_app(services)).test_app():
        await services.manager.wait_settled()
        client = app.test_client()
        first = await post(client)
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert "x-ratelimit-limit-tokens" not in first.headers
        wrong = await post(client, messages=[])
        assert (wrong.status_code, wrong.headers["x-ratelimit-remaining-requests"]) == (400, "0")
        refused = await client.post("/v1/chat/completions", data=b"{", headers={"Authorization": f"Bearer {KEYS['a']}"})
        assert refused.status_code == 429
        assert 0 < int(refused.headers["Retry-After"]) <= 30
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        error = await error_of(refused)
        assert (error["code"], error["type"]) == ("rate_limit_exceeded", "requests")
        assert (await post(client, "b")).status_code == 200
        assert (await client.get("/v1/models", headers={"Authorization": f"Bearer {KEYS['a']}"})).status_code == 200
        figures = services.metrics.exposition().decode()
        assert 'twowire_refusals_total{reason="rate_limit_exceeded"} 1.0' in figures


async def test_a_wrong_key_costs_nobody_anything() -> None:
    services = services_with("--requests-per-minute", "1")
    async with (app := create_app(services)).test_app():
        await services.manager.wait_settled()
        answer = await post(app.test_client(), None)
        assert answer.status_code == 401
        assert "x-ratelimit-limit-requests" not in answer.headers
        assert len(store_of(services)) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_prompt_and_answer_are_taken_from_the_tokens(stream: bool) -> None:
    services = services_with("--tokens-per-minute", "6000", keys=False)
    stop_the_clock(services)
    async with (app := create_app(services)).test_app():
        await services.manager.wait_settled()
        client = app.test_client()
        answer = await post(client, None, stream=stream)
        await answer.get_data()
        # An invalid request takes no tokens, and reports what is left.
        left = (await post(client, None, messages=[])).headers["x-ratelimit-remaining-tokens"]
        assert int(left) == 6000 - PROMPT_TOKENS - 2
        assert not services.rates._clients
        assert not services.rates._running


async def test_a_request_that_finds_no_place_gets_its_tokens_back() -> None:
    services = services_with("--tokens-per-minute", "10", keys=False)
    stop_the_clock(services)
    factory = services.manager._factory
    assert isinstance(factory, FakeFactory)
    async with (app := create_app(services)).test_app():
        await services.manager.wait_settled()
        refusal = TwowireError(Fault.QUEUE_FULL, "full", retry_after_s=1)
        factory.engines[0].refusal = refusal
        for _ in range(10):
            assert (await post(app.test_client(), None)).status_code == 503
        factory.engines[0].refusal = None
        assert (await post(app.test_client(), None)).status_code == 200


async def test_the_channel_draws_on_the_same_account() -> None:
    flags = ("--requests-per-minute", "2", "--tokens-per-minute", "1000")
    async with open_harness(steps=words("x"), ends=True, flags=flags) as harness:
        stop_the_clock(harness.services)
        peer = harness.peer(owner="key")
        await harness.services.rates.admit("key")
        await peer.create("a")
        created = await peer.wait_for(CREATED, "a")
        assert created["rate_limits"][0] == {"name": "requests", "limit": 2, "remaining": 0, "reset_seconds": 60.0}
        assert created["rate_limits"][1]["remaining"] == 1000 - PROMPT_TOKENS
        await peer.wait_for(DONE, "a")
        await peer.create("b", "e2")
        error = await peer.wait_for("error", "b")
        assert (error["status"], error["error"]["type"], error["retry_after_s"]) == (429, "requests", 30)
        assert (await harness.services.rates.standing("key"))[1]["remaining"] == 1000 - PROMPT_TOKENS - 1
        other = harness.peer(owner="another key")
        await other.create("a")
        await other.wait_for(DONE, "a")


@pytest.mark.parametrize(
    ("flags", "keys", "per_client"),
    [
        ([], 0, None),
        ([], 1, None),
        ([], 2, 224),
        (["--max-num-seqs", "4"], 2, 3),
        (["--max-num-seqs", "1"], 2, 1),
        (["--max-num-seqs", "4", "--max-running-per-key", "4"], 2, 4),
        (["--max-running-per-key", "16"], 0, 16),
    ],
)
def test_one_of_several_keys_cannot_hold_all_places_unless_told_so(
    flags: list[str], keys: int, per_client: int | None
) -> None:
    environ = {"TWOWIRE_API_KEYS": ",".join(list(KEYS.values())[:keys])} if keys else {}
    assert load_settings(flags, environ).admission.running_per_client == per_client
