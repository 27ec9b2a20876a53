"""Bodies and messages on their way in: what may come from where, and that none stops the others."""

from __future__ import annotations

import asyncio
import threading
import time

import orjson
import pytest

from app.channel.session import PARSED_ASIDE_CHARS
from app.config.load import load_settings
from app.factory import create_app
from app.limits.parser import ParserThread
from app.routes.shared.http import PARSED_ASIDE_BYTES
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import open_harness
from tests.engine.fakes import FakeFactory

CHAT = "/v1/chat/completions"
BRACKETS = b'{"model":"guide","x":[' + b"[]," * 5_592_000 + b"[]]}"


async def test_one_large_body_is_parsed_at_a_time() -> None:
    parser, running, most = ParserThread(), threading.Semaphore(1), []

    def parse(number: int) -> int:
        most.append(running.acquire(blocking=False))
        time.sleep(0.001)
        running.release()
        return number

    assert await asyncio.gather(*(parser.run(parse, number) for number in range(20))) == list(range(20))
    assert all(most)
    parser.close()


async def test_a_large_body_of_an_app_is_parsed_by_its_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    services = make_services(load_settings([], {}), EngineManager(FakeFactory(), AdmissionLimits(1, 1)))
    app = create_app(services)
    threads: list[str] = []

    def parse(model: object, body: bytes) -> None:
        threads.append(threading.current_thread().name)
        raise TwowireError(Fault.INVALID_JSON, "It is only a test.")

    monkeypatch.setattr("app.routes.shared.http.parse_request", parse)
    async with app.test_app():
        for body in ({"x": "small"}, {"x": "x" * PARSED_ASIDE_BYTES}):
            await app.test_client().post(CHAT, json=body)
    assert threads[0] == threading.current_thread().name
    assert threads[1].startswith("parser")


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank"])
async def test_sixteen_mebibytes_of_brackets_are_refused_unparsed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, parsed = orjson.loads, [0]

    def counted(raw: bytes) -> object:
        parsed.append(len(raw))
        return loads(raw)

    monkeypatch.setattr("protocol.validation.parse.orjson.loads", counted)
    app = create_app(make_services(load_settings([], {}), EngineManager(FakeFactory(), AdmissionLimits(1, 1))))
    async with app.test_app():
        answer = await app.test_client().post(path, data=BRACKETS, headers={"Content-Type": "application/json"})
        text = await answer.get_data(as_text=False)
    assert max(parsed) < PARSED_ASIDE_BYTES
    error = orjson.loads(text)["error"]
    assert (answer.status_code, error["code"]) == (413, "request_too_large")
    assert "more than 250000 lists, objects and keys" in error["message"]


async def test_a_message_of_brackets_is_refused_and_the_channel_goes_on() -> None:
    async with open_harness() as harness:
        peer = harness.peer(parse_aside=harness.services.parser.run)
        message = '{"type":"ping","x":[' + ",".join(["[]"] * 300_000) + "]}"
        assert len(message) > PARSED_ASIDE_CHARS
        await peer.say(message)
        refused = await peer.wait_for("error")
        assert (refused["status"], refused["error"]["code"]) == (413, "request_too_large")
        await peer.say('{"type":"ping","t":1}')
        assert (await peer.wait_for("pong"))["t"] == 1
