"""Recordings through the real engine, with a model of Whisper's shape: over a socket, with OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.live.servers.models.speech_model import ENDLESS_PROMPT, SEGMENTS, TEXT, make_speech_model
from tests.live.servers.server import Server, start_server, stop_server
from tests.recordings import recording

SOUND = recording(5.0)
LONG = recording(70.0, 8000)


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = make_speech_model(tmp_path_factory.mktemp("speech") / "ear")
    server = start_server("--model", str(model), "--audio-max-duration-s", "80", "--max-num-seqs", "8")
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


def write_down(server: Server, sound: bytes = SOUND, **fields: Any) -> Any:
    return server.sdk().audio.transcriptions.create(model="ear", file=("a.wav", sound), **fields)


def test_a_recording_becomes_a_text(ear: Server) -> None:
    answer = write_down(ear, language="en", include=["logprobs"])
    assert answer.text == TEXT
    assert (answer.usage.type, answer.usage.input_token_details.audio_tokens) == ("tokens", 1500)
    assert "".join(one.token for one in answer.logprobs).startswith(" Hello world.")
    assert ear.sdk().audio.translations.create(model="ear", file=("a.wav", SOUND)).text == TEXT


@pytest.mark.parametrize("kind", ["FLAC", "MP3", "OGG"])
def test_other_kinds_of_files_do_as_well(ear: Server, kind: str) -> None:
    assert write_down(ear, recording(3.0, 44100, kind=kind, channels=2), language="en").text == TEXT


def test_the_language_is_found(ear: Server) -> None:
    answer = write_down(ear, response_format="verbose_json", timestamp_granularities=["segment"])
    assert (answer.language, answer.duration) == ("german", 5.0)
    assert answer.text == TEXT
    assert tuple((one.text, one.start, one.end) for one in answer.segments) == SEGMENTS
    assert all(one.avg_logprob <= 0 for one in answer.segments)


def test_subtitles_have_times(ear: Server) -> None:
    assert write_down(ear, language="en", response_format="text") == f"{TEXT}\n"
    assert write_down(ear, language="en", response_format="srt").startswith(
        "1\n00:00:00,000 --> 00:00:02,000\nHello world.\n"
    )
    assert write_down(ear, language="en", response_format="vtt").startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello"
    )


def test_a_long_recording_is_heard_in_pieces(ear: Server) -> None:
    answer = write_down(ear, LONG, language="en", response_format="verbose_json")
    assert answer.text == " ".join([TEXT] * 3)
    assert answer.duration == 70.0
    starts = [one.start for one in answer.segments]
    assert len(starts) == 6
    assert starts == sorted(starts)
    assert 28 < starts[2] <= 30
    assert 56 < starts[4] <= 60


@pytest.mark.parametrize(("sound", "pieces"), [(SOUND, 1), (LONG, 3)])
def test_a_stream_brings_the_text_in_order(ear: Server, sound: bytes, pieces: int) -> None:
    *deltas, done = write_down(ear, sound, language="en", stream=True)
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert (done.type, done.text) == ("transcript.text.done", " ".join([TEXT] * pieces))
    assert "".join(event.delta for event in deltas) == done.text
    assert done.usage.input_tokens == pieces * 1504


def test_a_client_that_leaves_frees_the_engine(ear: Server) -> None:
    stream = write_down(ear, LONG, language="en", prompt=ENDLESS_PROMPT, stream=True)
    next(iter(stream))
    stream.close()
    ear.wait_idle(30)
    ear.wait_until(lambda: ear.metric("twowire_requests_total", outcome="cancelled") == 1, 30, "it was not cancelled")


def refused(server: Server, sound: bytes, **fields: Any) -> tuple[int, str | None, str]:
    with pytest.raises(openai.APIStatusError) as error:
        write_down(server, sound, **fields)
    body: Any = error.value.body
    return error.value.status_code, body["param"], body["message"]


def test_what_cannot_be_written_down_is_refused(ear: Server) -> None:
    for stream, sound, fields, param, reason in (
        (False, b"no sound " * 1000, {}, "file", "cannot be decoded"),
        (True, SOUND[:20], {}, "file", "cannot be decoded"),
        (True, recording(81.0, 8000), {}, "file", "more than 80 s"),
        (False, SOUND, {"language": "xx"}, "language", "must be one of these codes"),
        (True, SOUND, {"extra_body": {"max_completion_tokens": 0}}, "max_completion_tokens", "at least 1"),
    ):
        status, named, message = refused(ear, sound, stream=stream, **fields)
        assert (status, named) == (400, param)
        assert reason in message
    ear.wait_idle(30)
    # A prompt that is too long is cut, and the model's tags in it are only text.
    assert write_down(
        ear, prompt="<|translate|>" + "hello " * 2000, language="en", extra_body={"max_completion_tokens": 2}
    ).text
    assert write_down(ear, language="en").text == TEXT


def test_other_routes_say_what_the_model_is_for(ear: Server) -> None:
    assert [model.id for model in ear.sdk().models.list()] == ["ear"]
    chat = {"model": "ear", "messages": [{"role": "user", "content": "Hi"}]}
    for path, body in (("chat/completions", chat), ("completions", {"model": "ear", "prompt": "Hi"})):
        answer = httpx.post(f"{ear.url}/v1/{path}", json=body, timeout=30)
        assert answer.status_code == 404
        assert "is for transcription (/v1/audio/transcriptions)" in answer.json()["error"]["message"]
    assert any("for recordings" in line for line in ear.log)
    assert not any("Traceback" in line for line in ear.log)
