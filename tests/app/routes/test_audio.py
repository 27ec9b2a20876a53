"""Recordings over HTTP, with a fake engine: what it is asked, and what clients get."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from quart import Quart
from quart.datastructures import FileStorage
from structlog.testing import capture_logs

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.api import Prepared
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest, Heard, SpeechPrompt
from protocol.output import Delta
from tests.engine.fakes import FakeEngine, FakeFactory, words

PATH = "/v1/audio/transcriptions"
SOUND = b"RIFF and so on"


class FakeSpeechEngine(FakeEngine):
    """Hears one piece in every recording."""

    is_speech_model = True

    def __init__(self, steps: Sequence[list[Delta]] = (), *, ends: bool = True) -> None:
        super().__init__(steps, ends=ends)
        self.heard: list[bytes] = []
        self.fault: TwowireError | None = None

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        speech = request.prompt
        assert isinstance(speech, SpeechPrompt)
        if self.fault is not None:
            raise self.fault
        speech.file.seek(0)
        self.heard.append(speech.file.read())
        speech.heard = Heard("English", True, 2.5, (0.0,), 2)
        return await super().prepare(request, client)


@asynccontextmanager
async def serving(
    *flags: str, ends: bool = True, speech: bool = True, **environment: str
) -> AsyncIterator[tuple[Quart, FakeFactory]]:
    factory = FakeFactory(words(" Hello", " there."), ends=ends, engine=FakeSpeechEngine if speech else FakeEngine)
    manager = EngineManager(factory, AdmissionLimits(4, 4), is_speech_model=speech)
    settings = load_settings(["--no-embeddings", "--served-model-name", "ear", *flags], environment)
    app = create_app(make_services(settings, manager))
    async with app.test_app():
        await manager.wait_settled()
        yield app, factory


async def post(
    app: Quart, path: str = PATH, *, sound: bytes | None = SOUND, key: str | None = None, **fields: str
) -> Any:
    files = {} if sound is None else {"file": _stored(sound)}
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return await app.test_client().post(path, form={"model": "ear", **fields}, files=files, headers=headers)


def _stored(sound: bytes) -> FileStorage:
    return FileStorage(io.BytesIO(sound), filename="a.wav")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # the engine's fake tells nobody
            await asyncio.sleep(0)


async def test_a_recording_becomes_a_text() -> None:
    async with serving() as (app, factory):
        with capture_logs() as logs:
            response = await post(app, language="en", prompt="Ada", temperature="0.2")
        assert (response.status_code, response.mimetype) == (200, "application/json")
        answer = await response.get_json()
        assert (answer["text"], answer["usage"]["output_tokens"]) == ("Hello there.", 2)
        engine = factory.engines[0]
        assert isinstance(engine, FakeSpeechEngine)
        assert engine.heard == [SOUND]
        speech = engine.prepared[0].prompt
        assert isinstance(speech, SpeechPrompt)
        assert (speech.language, speech.text, speech.with_times) == ("en", "Ada", False)
        assert speech.file.closed
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["route"], line["model"], line["outcome"]) == (PATH, "ear", "completed")
    assert (line["audio_s"], line["audio_bytes"]) == (2.5, len(SOUND))
    assert "Hello" not in str(logs)
    assert "Ada" not in str(logs)


@pytest.mark.parametrize(
    ("format_", "media_type", "beginning"),
    [
        ("text", "text/plain", "Hello there.\n"),
        ("srt", "text/plain", "1\n00:00:00,000 --> "),
        ("vtt", "text/vtt", "WEBVTT\n\n"),
        ("verbose_json", "application/json", '{"task":"translate","language":"english"'),
    ],
)
async def test_each_format_has_its_media_type(format_: str, media_type: str, beginning: str) -> None:
    async with serving() as (app, _):
        response = await post(app, "/v1/audio/translations", response_format=format_)
        assert (response.status_code, response.mimetype) == (200, media_type)
        assert (await response.get_data(as_text=True)).startswith(beginning)


async def test_a_stream_ends_with_the_whole_text() -> None:
    async with serving() as (app, _):
        response = await post(app, stream="true")
        assert response.mimetype == "text/event-stream"
        events = (await response.get_data(as_text=True)).split("\n\n")
        *shown, done, end, nothing = [event.removeprefix("data: ") for event in events]
        assert (end, nothing) == ("[DONE]", "")
        assert [orjson.loads(event)["delta"] for event in shown] == ["Hello", " there."]
        assert orjson.loads(done)["text"] == "Hello there."


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_refusals_have_a_status_streamed_or_not(stream: str) -> None:
    async with serving() as (app, factory):
        engine = factory.engines[0]
        assert isinstance(engine, FakeSpeechEngine)
        engine.fault = TwowireError(Fault.INVALID_VALUE, "The recording cannot be decoded.", param="file")
        response = await post(app, stream=stream)
        error = (await response.get_json())["error"]
        assert (response.status_code, error["param"]) == (400, "file")


async def test_what_is_wrong_with_a_form_is_named() -> None:
    async with serving("--audio-max-file-bytes", "2000") as (app, factory):
        for fields, sound, status, param in (
            ({"temperature": "2"}, SOUND, 400, "temperature"),
            ({"model": "other"}, SOUND, 404, "model"),
            ({}, None, 400, "file"),
            ({}, b"", 400, "file"),
            ({}, b"x" * 2001, 413, "file"),
            ({}, b"x" * 900_000, 413, "file"),
        ):
            response = await post(app, sound=sound, **fields)
            error = (await response.get_json())["error"]
            assert (response.status_code, error["param"]) == (status, param), error
        client = app.test_client()
        for headers in ({"Content-Type": "application/json"}, {"Content-Type": "multipart/form-data"}, {}):
            response = await client.post(PATH, data=b"{}", headers=headers)
            assert response.status_code == (400 if "multipart/form-data" in headers.values() else 415)
        assert factory.engines[0].prepared == []


async def test_a_body_that_does_not_come_is_given_up() -> None:
    async with serving("--body-timeout-s", "0.05") as (app, _):
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        async with app.test_client().request(PATH, method="POST", headers=headers) as connection:
            await connection.send(b"--b\r\n")
            async with asyncio.timeout(30):
                error = orjson.loads(await connection.receive())["error"]
            assert error["code"] == "request_timeout"


async def test_only_so_many_recordings_are_held() -> None:
    async with serving("--audio-max-requests", "1", ends=False) as (app, factory):
        first = asyncio.ensure_future(post(app))
        await until(lambda: bool(factory.engines[0].opened))
        second = await post(app)
        assert (second.status_code, second.headers["Retry-After"]) == (503, "2")
        assert (await second.get_json())["error"]["code"] == "queue_full"
        factory.engines[0].opened[0].end()
        assert (await first).status_code == 200
        factory.engines[0].ends = True
        assert (await post(app)).status_code == 200


async def test_one_of_several_keys_holds_at_most_half_of_the_recordings() -> None:
    one, other = "a" * 32, "b" * 32
    async with serving("--audio-max-requests", "2", ends=False, TWOWIRE_API_KEYS=f"{one},{other}") as (app, factory):
        opened = factory.engines[0].opened
        first = asyncio.ensure_future(post(app, key=one))
        await until(lambda: len(opened) == 1)
        refused = await post(app, key=one)
        assert (refused.status_code, (await refused.get_json())["error"]["code"]) == (503, "queue_full")
        second = asyncio.ensure_future(post(app, key=other))
        await until(lambda: len(opened) == 2)
        for stream in opened:
            stream.end()
        assert [(await first).status_code, (await second).status_code] == [200, 200]


async def test_a_client_that_leaves_ends_its_request() -> None:
    async with serving(ends=False) as (app, factory):
        boundary = "b0undary"
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\near\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--{boundary}--\r\n'
        ).encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        async with app.test_client().request(PATH, method="POST", headers=headers) as connection:
            await connection.send(body)
            await connection.send_complete()
            await until(lambda: bool(factory.engines[0].opened))
            await connection.disconnect()
        stream = factory.engines[0].opened[0]
        await until(lambda: stream.closed)
        speech = factory.engines[0].prepared[0].prompt
        assert isinstance(speech, SpeechPrompt)
        assert speech.file.closed


async def test_each_model_says_what_it_is_for() -> None:
    chat = {"model": "ear", "messages": [{"role": "user", "content": "Hi"}]}
    async with serving() as (app, _):
        client = app.test_client()
        (model,) = (await (await client.get("/v1/models")).get_json())["data"]
        assert model["type"] == "transcription"
        refused = await client.post("/v1/chat/completions", json=chat)
        assert refused.status_code == 404
        assert "/v1/audio/transcriptions" in (await refused.get_json())["error"]["message"]
        listed = await client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})
        assert (await listed.get_json()) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    async with serving(speech=False) as (app, _):
        refused = await post(app)
        assert refused.status_code == 404
        assert "/v1/chat/completions" in (await refused.get_json())["error"]["message"]


async def test_a_server_that_cannot_decode_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.speech.decoder.LIBRARY", "no_such_library")
    async with serving() as (app, factory):
        response = await post(app)
        error = (await response.get_json())["error"]
        assert (response.status_code, error["code"]) == (501, "not_implemented")
        assert "twowire[audio]" in error["message"]
        assert factory.engines[0].prepared == []


async def test_recordings_count_toward_the_rate_limits() -> None:
    async with serving("--requests-per-minute", "1") as (app, _):
        assert (await post(app)).status_code == 200
        assert (await post(app)).status_code == 429
