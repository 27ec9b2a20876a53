"""Anthropic's Messages over HTTP: refusals in its form, keys, models, counting, pings, resuming."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.output import Delta
from tests.app.channel.channels import HANDSHAKE, until
from tests.engine.fakes import FakeFactory, words

KEY = "key-of-ours-1234"
BODY: dict[str, Any] = {"model": "guide", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/messages"


@asynccontextmanager
async def serving(*flags: str, keepalive_s: float = 15.0, **environ: str) -> AsyncIterator[tuple[Quart, FakeFactory]]:
    factory = FakeFactory(words("so", " it is"))
    manager = EngineManager(factory, AdmissionLimits(4, 4), keepalive_s=keepalive_s)
    app = create_app(make_services(load_settings(flags, environ), manager))
    async with app.test_app():
        await manager.wait_settled()
        yield app, factory


async def refused(app: Quart, method: str, path: str, **request: Any) -> tuple[int, str]:
    """The status and the type of a refusal, whose form and headers are Anthropic's."""
    response = await app.test_client().open(path, method=method, **request)
    body = await response.get_json()
    assert (list(body), list(body["error"])) == (["type", "error", "request_id"], ["type", "message"])
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"] == response.headers["X-Request-Id"]
    return response.status_code, body["error"]["type"]


async def test_every_refusal_has_anthropics_form() -> None:
    async with serving("--requests-per-minute", "4", TWOWIRE_API_KEYS=KEY) as (app, factory):
        ours = {"x-api-key": KEY}
        assert await refused(app, "POST", PATH, json=BODY) == (401, "authentication_error")
        assert await refused(app, "POST", f"{PATH}/count_tokens", json=BODY) == (401, "authentication_error")
        assert await refused(app, "GET", PATH, headers=ours) == (405, "invalid_request_error")
        assert await refused(app, "POST", f"{PATH}/x/y", headers=ours) == (404, "not_found_error")
        assert await refused(app, "GET", "/v1/skills", headers=ours) == (404, "not_found_error")
        assert await refused(app, "GET", "/v1/models/none", headers=ours) == (404, "not_found_error")
        assert await refused(app, "POST", PATH, headers=ours, data="{") == (415, "invalid_request_error")
        unknown = BODY | {"model": "claude-none"}
        assert await refused(app, "POST", PATH, headers=ours, json=unknown) == (404, "not_found_error")
        factory.engines[-1].kill()
        await until(lambda: len(factory.engines) == 2, 30)
        for stream in (False, True):
            body = BODY | {"stream": stream, "max_tokens": 0}
            assert await refused(app, "POST", PATH, headers=ours, json=body) == (400, "invalid_request_error")
        assert await refused(app, "POST", PATH, headers=ours, json=BODY) == (429, "rate_limit_error")
        other = await app.test_client().get("/v1/chat/completions", headers=ours)
        assert list((await other.get_json())["error"]) == ["message", "type", "param", "code"], "another API's path"


async def test_a_body_that_is_too_large_is_refused_in_its_form() -> None:
    async with serving("--max-body-bytes", "1024") as (app, _):
        large = BODY | {"system": "x" * 2000}
        assert await refused(app, "POST", PATH, json=large) == (413, "request_too_large")


async def test_an_engine_that_dies_is_an_api_error() -> None:
    async with serving() as (app, factory):
        engine = factory.engines[-1]
        engine.ends = False
        asked = asyncio.create_task(refused(app, "POST", PATH, json=BODY))
        await until(lambda: engine.opened)
        engine.kill()
        assert await asked == (503, "api_error")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY, "Authorization": "Bearer for-another-server"},
        {"x-api-key": "for-another-server", "Authorization": f"Bearer {KEY}"},
    ],
)
async def test_a_known_key_enters_in_either_header(headers: dict[str, str]) -> None:
    async with serving(TWOWIRE_API_KEYS=KEY) as (app, _):
        response = await app.test_client().post(f"{PATH}?beta=true", json=BODY, headers=headers)
        message = await response.get_json()
        assert (response.status_code, message["content"][0]["text"]) == (200, "so it is")
        assert message["usage"]["input_tokens"] == 3
        assert response.headers["request-id"] == response.headers["X-Request-Id"]


async def test_counting_renders_once_and_asks_for_nothing_else() -> None:
    async with serving() as (app, factory):
        body = {name: value for name, value in BODY.items() if name != "max_tokens"}
        response = await app.test_client().post(f"{PATH}/count_tokens?beta=true", json=body)
        assert await response.get_json() == {"input_tokens": 3}
        assert response.headers["request-id"]
        engine = factory.engines[-1]
        assert (len(engine.counted), engine.prepared, engine.opened) == (1, [], [])


async def test_models_have_the_form_of_who_asks() -> None:
    async with serving("--served-model-name", "one", "two", "--model-alias", "claude-*=two") as (app, _):
        client, ours = app.test_client(), {"anthropic-version": "2023-06-01"}
        listed = await (await client.get("/v1/models", headers=ours)).get_json()
        assert [model["id"] for model in listed["data"]] == ["one", "two"]
        assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "one", "two")
        model = await (await client.get("/v1/models/claude-9", headers=ours)).get_json()
        assert model == listed["data"][1]
        assert (model["type"], model["max_input_tokens"]) == ("model", 2048)
        assert (await (await client.get("/v1/models")).get_json())["object"] == "list"
        answer = await (await client.post(PATH, json=BODY | {"model": "claude-9"})).get_json()
        assert answer["model"] == "claude-9"


async def test_silence_is_filled_with_pings() -> None:
    async with serving(keepalive_s=0.01) as (app, factory):
        engine = factory.engines[-1]
        engine.steps, engine.ends = [], False

        async def read() -> bytes:
            response = await app.test_client().post(PATH, json=BODY | {"stream": True})
            return await response.get_data(as_text=False)

        reading = asyncio.create_task(read())
        await until(lambda: engine.opened)
        (stream,), wakings = engine.opened, []
        wake = stream.wake
        stream.wake = lambda: (wakings.append(stream), wake())[1]  # type: ignore[method-assign,func-returns-value]  # counted
        await until(lambda: len(wakings) >= 2, 30)
        stream.feed(Delta(0, "Hi", 1, "stop"))
        stream.end()
        text = await reading
        assert text.startswith(b'event: ping\ndata: {"type":"ping"}\n\n')
        assert text.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


async def test_a_stream_can_be_resumed_over_http() -> None:
    async with serving() as (app, _):
        client = app.test_client()
        first = await client.post(PATH, json=BODY | {"stream": True}, headers={"Twowire-Resume-Grace": "30"})
        whole = await first.get_data(as_text=True)
        answer_id, token = first.headers["Twowire-Completion-Id"], first.headers["Twowire-Resume-Token"]
        assert answer_id.startswith("msg_")
        rest = await client.get(f"{PATH}/{answer_id}/stream?starting_after=2", headers={"Twowire-Resume-Token": token})
        resumed = await rest.get_data(as_text=True)
        assert whole.endswith(resumed)
        assert resumed.startswith("id: 3\nevent: content_block_delta\n")
        assert (await client.delete(f"{PATH}/{answer_id}")).status_code == 200


@pytest.mark.parametrize(
    ("create", "code"),
    [
        ({"body": BODY | {"max_tokens": 0}}, "invalid_value"),
        ({"body": BODY}, "too_many_streams"),
        ({"body": BODY, "timeout_s": "long"}, "invalid_type"),
    ],
)
async def test_a_channel_at_its_path_refuses_in_its_form(create: dict[str, Any], code: str) -> None:
    flags = ("--ws-max-running", "1", "--ws-max-waiting", str(int(code == "invalid_value")))
    async with serving(*flags, TWOWIRE_API_KEYS=KEY) as (app, factory):
        factory.engines[-1].ends = code != "too_many_streams"
        async with app.test_client().websocket(PATH, headers=HANDSHAKE | {"x-api-key": KEY}) as socket:
            for name, fields in (("first", {"body": BODY}), ("s", create)):
                asked = {"type": "chat.completion.create", "stream_id": name, **fields}
                await socket.send(orjson.dumps(asked).decode())
            while (frame := json.loads(await socket.receive()))["type"] != "error":
                pass
        assert (frame["stream_id"], frame["error"]["code"]) == ("s", code)
        kind = "rate_limit_error" if frame["status"] == 429 else "invalid_request_error"
        assert frame["data"] == {"type": "error", "error": {"type": kind, "message": frame["error"]["message"]}}
