"""Images on both wires, in all APIs: whether the model takes them, and what they cost."""

from __future__ import annotations

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
from engine.api import Modality, Prepared
from engine.manager import EngineManager
from protocol.generation import ChatPrompt, GenerationRequest
from protocol.images import images_of
from tests.app.channel.channels import HANDSHAKE
from tests.engine.fakes import FakeEngine, FakeFactory, words

DATA = "data:image/png;base64,AAAA"
IMAGE_TOKENS = 2


class SeeingEngine(FakeEngine):
    """Takes images: each is two tokens."""

    modalities: tuple[Modality, ...] = ("text", "image")

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        prepared = await super().prepare(request, client)
        assert isinstance(request.prompt, ChatPrompt)
        tokens = IMAGE_TOKENS * len(images_of(request.prompt.messages))
        return Prepared(prepared.prompts, prepared.prompt_tokens + tokens, prepared.n, tokens)


TEXT, CHAT = {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": DATA}}
INPUT, BLOCK = {"type": "input_image", "image_url": DATA}, {"type": "image", "source": {"type": "url", "url": DATA}}


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "guide", **more}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


BODIES = {
    "/v1/chat/completions": asking(messages=user(TEXT, CHAT)),
    "/v1/responses": asking(input=user({"type": "input_text", "text": "What is it?"}, INPUT)),
    "/v1/messages": asking(messages=user(TEXT, BLOCK), max_tokens=8),
}
PARAMS = dict(zip(BODIES, ("messages[0].content[1]", "input[0].content[1]", "messages[0].content[1]"), strict=True))


@asynccontextmanager
async def serving(engine: type[FakeEngine]) -> AsyncIterator[tuple[Quart, FakeFactory]]:
    factory = FakeFactory(words("a", " cat"), engine=engine)
    manager = EngineManager(factory, AdmissionLimits(4, 4))
    app = create_app(make_services(load_settings([], {}), manager))
    async with app.test_app():
        await manager.wait_settled()
        yield app, factory


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", BODIES)
async def test_a_model_of_text_refuses_images_and_names_the_part(path: str, stream: bool) -> None:
    async with serving(FakeEngine) as (app, factory):
        response = await app.test_client().post(path, json=BODIES[path] | {"stream": stream})
        error = (await response.get_json())["error"]
        assert (response.status_code, error["type"]) == (400, "invalid_request_error")
        assert error["message"].startswith(f"{PARAMS[path]}: this model takes no images")
        assert error.get("param", PARAMS[path]) == PARAMS[path]
        assert error.get("code", "unsupported_content") == "unsupported_content"
        assert factory.engines[-1].prepared == []


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/responses/input_tokens"])
async def test_counting_refuses_them_too(path: str) -> None:
    body = dict(BODIES[path.rpartition("/")[0]])
    body.pop("max_tokens", None)
    async with serving(FakeEngine) as (app, factory):
        response = await app.test_client().post(path, json=body)
        assert response.status_code == 400
        assert factory.engines[-1].counted == []


async def test_usage_says_what_images_cost() -> None:
    async with serving(SeeingEngine) as (app, _):
        client = app.test_client()
        answers = {path: await (await client.post(path, json=body)).get_json() for path, body in BODIES.items()}
    usage = answers["/v1/chat/completions"]["usage"]
    assert usage["prompt_tokens"] == 3 + IMAGE_TOKENS
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "image_tokens": IMAGE_TOKENS}
    details = answers["/v1/responses"]["usage"]["input_tokens_details"]
    assert details == {"cached_tokens": 0, "cache_write_tokens": 0, "image_tokens": IMAGE_TOKENS}
    assert answers["/v1/messages"]["usage"]["input_tokens"] == 3 + IMAGE_TOKENS


async def test_text_alone_has_no_figure_for_images() -> None:
    async with serving(SeeingEngine) as (app, _):
        body = asking(messages=user(TEXT))
        answer = await (await app.test_client().post("/v1/chat/completions", json=body)).get_json()
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


@pytest.mark.parametrize(("engine", "expected"), [(FakeEngine, ["text"]), (SeeingEngine, ["text", "image"])])
async def test_the_list_of_models_says_what_they_take(engine: type[FakeEngine], expected: list[str]) -> None:
    async with serving(engine) as (app, _):
        models = await (await app.test_client().get("/v1/models")).get_json()
    assert models["data"][0]["input_modalities"] == expected


async def test_the_websocket_takes_the_same_parts() -> None:
    async with serving(SeeingEngine) as (app, factory):
        async with app.test_client().websocket("/v1/chat/completions", headers=HANDSHAKE) as socket:
            await socket.receive()
            body = BODIES["/v1/chat/completions"]
            await socket.send(orjson.dumps({"type": "chat.completion.create", "stream_id": "a", "body": body}).decode())
            frames = [orjson.loads(await socket.receive())]
            while frames[-1]["type"] not in ("chat.completion.done", "error"):
                frames.append(orjson.loads(await socket.receive()))
        (request,) = factory.engines[-1].prepared
        assert isinstance(request.prompt, ChatPrompt)
        assert images_of(request.prompt.messages)[0].url == DATA
    assert frames[-1]["usage"]["prompt_tokens_details"]["image_tokens"] == IMAGE_TOKENS
