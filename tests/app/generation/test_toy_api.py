"""A new API is a folder and a row: the example of CONTRIBUTING.md works on both wires, and is the one printed there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from openapi_spec_validator import validate
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.generation.table import APIS
from app.server.wiring import make_services
from app.services import Services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.app.channel.channels import CHUNK, CREATE, CREATED, DONE, HANDSHAKE
from tests.app.generation.shout.row import SHOUT
from tests.engine.fakes import FakeFactory, words

BODY = {"model": "guide", "question": "Why?"}
FOLDER = Path(__file__).parent / "shout"


@asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[tuple[Quart, FakeFactory, Services]]:
    """A server with one more API than the table has."""
    factory = FakeFactory(words("so", " it is"))
    manager = EngineManager(factory, AdmissionLimits(4, 4))
    services = replace(make_services(load_settings(flags, {}), manager), apis=(*APIS, SHOUT))
    app = create_app(services)
    async with app.test_app():
        await manager.wait_settled()
        yield app, factory, services


async def test_it_answers_whole() -> None:
    async with serving() as (app, factory, _):
        response = await app.test_client().post("/v1/shout", json=BODY | {"max_words": 3})
        assert (response.status_code, await response.get_json()) == (200, {"shout": "SO IT IS"})
        (request,) = factory.engines[0].prepared
        assert request.sampling.max_tokens == 3


async def test_it_streams_with_its_own_events_and_its_own_end() -> None:
    async with serving() as (app, *_):
        response = await app.test_client().post("/v1/shout", json=BODY | {"stream": True})
        assert response.mimetype == "text/event-stream"
        assert await response.get_data(as_text=False) == (
            b'data: {"shout":"SO"}\n\ndata: {"shout":" IT IS"}\n\nevent: end\ndata: {"words":2}\n\n'
        )


@pytest.mark.parametrize("stream", [False, True])
async def test_it_refuses_in_its_own_form(stream: bool) -> None:
    async with serving() as (app, *_):
        response = await app.test_client().post("/v1/shout", json={"model": "guide", "stream": stream})
        assert (response.status_code, await response.get_json()) == (400, {"oops": "question is required."})


async def test_it_runs_on_a_channel_at_its_own_path() -> None:
    async with serving() as (app, *_), app.test_client().websocket("/v1/shout", headers=HANDSHAKE) as socket:
        assert orjson.loads(await socket.receive())["type"] == "connection.ready"
        await socket.send(orjson.dumps({"type": CREATE, "stream_id": "s", "body": BODY}).decode())
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] not in (DONE, "error"):
            frames.append(orjson.loads(await socket.receive()))
    assert [frame["type"] for frame in frames] == [CREATED, CHUNK, CHUNK, CHUNK, DONE]
    assert frames[0]["id"].startswith("shout-")
    assert [frame["data"] for frame in frames[1:-1]] == [{"shout": "SO"}, {"shout": " IT IS"}, {"words": 2}]
    assert [frame.get("event") for frame in frames[1:-1]] == [None, None, "end"]
    assert frames[-1]["status"] == "completed"


async def frames_of(
    app: Quart, path: str, create: dict[str, Any], *, on_chunk: Callable[[], object] = lambda: None
) -> list[dict[str, Any]]:
    """What a channel at `path` answers to `create`; `on_chunk` is called after the second chunk."""
    frames: list[dict[str, Any]] = []
    async with app.test_client().websocket(path, headers=HANDSHAKE) as socket:
        await socket.receive()
        await socket.send(orjson.dumps({"type": CREATE, "stream_id": "s"} | create).decode())
        while not frames or frames[-1]["type"] not in (DONE, "error"):
            frames.append(orjson.loads(await socket.receive()))
            if [frame["type"] for frame in frames] == [CREATED, CHUNK, CHUNK]:
                on_chunk()
    return frames


async def test_a_create_on_another_channel_may_name_it() -> None:
    async with serving() as (app, *_):
        frames = await frames_of(app, "/v1/chat/completions", {"api": "shout", "body": BODY})
        assert [frame["type"] for frame in frames] == [CREATED, CHUNK, CHUNK, CHUNK, DONE]
        assert frames[1]["data"] == {"shout": "SO"}
        chat = {"model": "guide", "messages": [{"role": "user", "content": "Hi"}]}
        frames = await frames_of(app, "/v1/shout", {"api": "chat_completions", "body": chat})
        assert frames[1]["data"]["object"] == "chat.completion.chunk"
        (refused,) = await frames_of(app, "/v1/shout", {"api": "whisper", "body": BODY})
        assert (refused["error"]["param"], refused["error"]["code"]) == ("api", "invalid_value")
        assert refused["error"]["message"].startswith("api must be one of: chat_completions, ")


async def test_its_errors_on_a_channel_have_its_form_too() -> None:
    async with serving() as (app, factory, _):
        (refused,) = await frames_of(app, "/v1/shout", {"body": {"model": "guide"}})
        assert (refused["status"], refused["error"]["param"]) == (400, "question")
        assert refused["data"] == {"oops": "question is required."}
        engine = factory.engines[0]
        engine.ends = False
        frames = await frames_of(app, "/v1/shout", {"body": BODY}, on_chunk=engine.kill)
        assert [frame["type"] for frame in frames[-2:]] == [CHUNK, "error"]
        assert (frames[-1]["error"]["code"], frames[-1]["data"]) == ("engine_died", {"oops": "killed"})


async def test_errors_below_its_path_have_its_form() -> None:
    async with serving() as (app, *_):
        client = app.test_client()
        wrong_method, unknown, other = (
            await client.get("/v1/shout"),
            await client.post("/v1/shout/louder"),
            await client.get("/v1/shouting"),
        )
        assert (wrong_method.status_code, await wrong_method.get_json()) == (405, {"oops": "GET is not allowed here."})
        assert (unknown.status_code, list(await unknown.get_json())) == (404, ["oops"])
        assert (other.status_code, list(await other.get_json())) == (404, ["error"])


async def test_its_tokens_count_toward_the_rate_limits() -> None:
    async with serving("--tokens-per-minute", "1000") as (app, *_):
        response = await app.test_client().post("/v1/shout", json=BODY)
        assert response.headers["x-ratelimit-limit-tokens"] == "1000"
        response = await app.test_client().post("/v1/shout", json=BODY)
        # Twice a prompt of three tokens, and the two tokens of the first answer.
        assert response.headers["x-ratelimit-remaining-tokens"] == "990"


async def test_it_is_documented() -> None:
    async with serving() as (app, *_):
        document = orjson.loads(await (await app.test_client().get("/openapi.json")).get_data(as_text=False))
    validate(document)
    path = document["paths"]["/v1/shout"]
    assert (path["post"]["operationId"], path["get"]["operationId"]) == ("createShout", "openShoutChannel")
    assert {"ShoutRequest", "Shout"} <= document["components"]["schemas"].keys()


def test_the_example_in_the_document_is_this_one() -> None:
    text = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text("utf-8")
    section = text[text.index("## Example: a new API") :].split("\n## ")[0]
    shown = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    files = [path.read_text("utf-8") for path in FOLDER.glob("*.py")]
    assert len(shown) == 3
    assert [block for block in shown if not any(block in file for file in files)] == []
