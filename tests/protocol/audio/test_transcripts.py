"""Forms in, requests out; the pieces of a recording in, texts, subtitles and events out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from protocol.audio.events import TranscriptEvents
from protocol.audio.form import object_of_form
from protocol.audio.request import SpeechRequest, TranscriptionRequest, TranslationRequest
from protocol.audio.response import TranscriptCollector
from protocol.audio.schemas import Transcript, TranscriptDelta, TranscriptDone, VerboseTranscript
from protocol.errors import TwowireError
from protocol.generation import Heard, SpeechPrompt
from protocol.output import Delta, TokenLogprob, Usage
from protocol.validation.parse import request_from_object
from tests.openai_document import assert_valid

USAGE = Usage(prompt_tokens=3008, completion_tokens=9)


def asked(*others: type[SpeechRequest], **fields: str | list[str]) -> Any:
    """The request of a form with these fields."""
    (kind,) = others or (TranscriptionRequest,)
    values = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
    request = request_from_object(kind, object_of_form({"model": ["whisper"]} | values))
    request.attach(io.BytesIO())
    return request


def heard(*starts_s: float, duration_s: float = 35.0, spaces_words: bool = True) -> Heard:
    return Heard("German", spaces_words, duration_s, starts_s or (0.0,), 1500 * (len(starts_s) or 1))


def body(request: Any, pieces: Sequence[Sequence[Delta]], found: Heard) -> bytes:
    request.speech.heard = found
    collector = TranscriptCollector(request, len(pieces))
    for steps in pieces:
        collector.add(steps)
    return collector.body(USAGE)


def piece(text: str, index: int = 0) -> list[Delta]:
    return [Delta(index, text, 4, "stop")]


# -- requests ----------------------------------------------------------------------------------------------------------


def test_a_form_becomes_a_request() -> None:
    request = asked(
        **{"timestamp_granularities[]": ["segment"]},
        language="de",
        prompt="12",
        response_format="verbose_json",
        temperature="0.5",
        seed="7",
        stream="false",
    )
    wanted = request.generation_request()
    assert isinstance(wanted.prompt, SpeechPrompt)
    assert (wanted.prompt.task, wanted.prompt.language, wanted.prompt.text) == ("transcribe", "de", "12")
    assert wanted.prompt.with_times
    assert (wanted.sampling.temperature, wanted.sampling.seed, wanted.sampling.logprobs) == (0.5, 7, 0)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"temperature": "1.5"}, "temperature", "invalid_value"),
        ({"temperature": "nan"}, "temperature", "invalid_type"),
        ({"temperature": "1e400"}, "temperature", "invalid_type"),
        ({"temperature": "9" * 5000}, "temperature", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"response_format": "diarized_json"}, "response_format", "invalid_value"),
        ({"response_format": "srt", "stream": "true"}, "response_format", "invalid_value"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities", "unsupported_parameter"),
        ({"timestamp_granularities[]": "segment"}, "timestamp_granularities", "invalid_value"),
        ({"include[]": "logprobs", "response_format": "text"}, "include", "invalid_value"),
        ({"model": ["a", "b"]}, "model", "invalid_value"),
        ({"model": ""}, "model", "invalid_value"),
        ({"prompt": "a" * 20_000}, "prompt", "invalid_value"),
        ({"prompt": "a\0b"}, "prompt", "invalid_value"),
        ({"chunking_strategy": "server_vad"}, "chunking_strategy", "unsupported_parameter"),
        ({"known_speaker_names[]": "Ada"}, "known_speaker_names", "unsupported_parameter"),
        ({"hotwords": "Ada"}, "hotwords", "unsupported_parameter"),
        ({"to_language": "fr"}, "to_language", "unsupported_parameter"),
        ({"use_beam_search": "true"}, "use_beam_search", "unsupported_parameter"),
    ],
)
def test_what_is_not_done_is_refused_by_name(fields: Mapping[str, Any], param: str, code: str) -> None:
    with pytest.raises(TwowireError) as refused:
        asked(**fields)
    assert (refused.value.param, refused.value.fault.code) == (param, code)
    assert param in refused.value.message


def test_what_changes_nothing_is_accepted() -> None:
    request = asked(chunking_strategy="auto", use_beam_search="false", n="1", stream_include_usage="true", odd="1")
    assert request.unknown_fields == ("odd",)


# -- whole texts -------------------------------------------------------------------------------------------------------


def test_json_has_the_text_and_the_usage() -> None:
    answer = orjson.loads(body(asked(), [piece(" Hello"), piece(" there.", 1)], heard(0.0, 30.0)))
    Transcript.model_validate(answer)
    assert_valid("CreateTranscriptionResponseJson", answer)
    assert answer == {
        "text": "Hello there.",
        "usage": {
            "type": "tokens",
            "input_tokens": 3008,
            "input_token_details": {"audio_tokens": 3000, "text_tokens": 8},
            "output_tokens": 9,
            "total_tokens": 3017,
        },
    }


def test_languages_without_spaces_get_none() -> None:
    pieces = [piece("こんに"), piece("ちは", 1)]
    found = heard(0.0, 30.0, spaces_words=False)
    assert body(asked(response_format="text"), pieces, found) == "こんにちは\n".encode()


TIMED = [piece(" Hello.<|2.00|><|2.50|> You.<|4.00|>"), piece(" Bye --> now.<|9.50|>", 1)]


def test_subtitles_have_the_times_of_the_recording() -> None:
    found = heard(0.0, 30.0)
    assert body(asked(response_format="srt"), TIMED, found).decode() == (
        "1\n00:00:00,000 --> 00:00:02,000\nHello.\n\n"
        "2\n00:00:02,500 --> 00:00:04,000\nYou.\n\n"
        # The piece ends before that.
        "3\n00:00:30,000 --> 00:00:35,000\nBye -> now.\n\n"
    )
    assert (
        body(asked(response_format="vtt"), TIMED, found)
        .decode()
        .startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello.\n\n")
    )


@pytest.mark.parametrize("text", ["", "<|2.00|>", "<|2.00|><|1.00|>", " <|29.98|> "])
def test_silence_has_no_segments(text: str) -> None:
    assert body(asked(response_format="srt"), [piece(text)], heard()) == b""
    assert body(asked(response_format="vtt"), [piece(text)], heard()) == b"WEBVTT\n\n"
    assert orjson.loads(body(asked(), [piece(text)], heard()))["text"] == ""


def test_a_text_that_never_ends_lasts_to_the_end() -> None:
    (segment,) = orjson.loads(body(asked(response_format="verbose_json"), [piece(" So on")], heard()))["segments"]
    assert (segment["start"], segment["end"], segment["text"]) == (0.0, 35.0, "So on")


def test_verbose_json_has_segments_with_the_tokens_probabilities() -> None:
    def token(text: str, logprob: float) -> TokenLogprob:
        return TokenLogprob(text, logprob, text.encode())

    first = (token(" Hello", -1.0), token(".", -3.0), token("<|2.00|>", -9.0), token("<|2.50|>", -9.0))
    second = (token(" You", -0.5), token(".", -0.5), token("<|4.00|>", -9.0))
    pieces = [[Delta(0, TIMED[0][0].text, 7, "stop", first + second)], TIMED[1]]
    answer = orjson.loads(body(asked(response_format="verbose_json"), pieces, heard(0.0, 30.0)))
    VerboseTranscript.model_validate(answer)
    assert_valid("CreateTranscriptionResponseVerboseJson", answer)
    assert (answer["task"], answer["language"], answer["duration"]) == ("transcribe", "german", 35.0)
    assert answer["text"] == "Hello. You. Bye --> now."
    assert answer["usage"] == {"type": "duration", "seconds": 35}
    assert [(one["start"], one["end"], one["avg_logprob"]) for one in answer["segments"]] == [
        (0.0, 2.0, -2.0),
        (2.5, 4.0, -0.5),
        (30.0, 35.0, 0.0),
    ]
    request = asked(TranslationRequest, response_format="verbose_json")
    assert orjson.loads(body(request, TIMED, heard(0.0, 30.0)))["language"] == "english"


# -- streams -----------------------------------------------------------------------------------------------------------


def events(request: Any, deltas: Sequence[Delta], pieces: int = 1) -> list[dict[str, Any]]:
    request.speech.heard = heard(*(30.0 * number for number in range(pieces)))
    encoder = TranscriptEvents(request)
    encoded = encoder.opening(pieces, USAGE)
    for delta in deltas:
        encoded += encoder.encode(delta)
    found: list[dict[str, Any]] = [orjson.loads(event) for event in encoded + encoder.closing(USAGE)]
    for event in found:
        (TranscriptDone if event["type"] == "transcript.text.done" else TranscriptDelta).model_validate(event)
        assert_valid("CreateTranscriptionResponseStreamEvent", event)
    return found


def test_deltas_add_up_to_the_last_event() -> None:
    deltas = [Delta(0, text, 1) for text in (" He", "llo", "", "<|2.00|> you")] + [Delta(0, ".", 1, "stop")]
    *shown, done = events(asked(stream="true"), deltas)
    assert [event["delta"] for event in shown] == ["He", "llo", " you", "."]
    assert done["text"] == "Hello you."
    assert done["usage"]["total_tokens"] == 3017


def test_later_pieces_wait_for_the_earlier_ones() -> None:
    deltas = [
        Delta(2, " three", 1, "stop"),
        Delta(1, " two", 1),
        Delta(0, " one", 1),
        Delta(0, ".", 1, "stop"),
        Delta(1, " and", 1, "stop"),
    ]
    *shown, done = events(asked(stream="true"), deltas, 3)
    assert [event["delta"] for event in shown] == ["one", ".", " two", " and", " three"]
    assert done["text"] == "one. two and three"


def test_log_probabilities_are_sent_if_they_are_included() -> None:
    logprobs = (TokenLogprob(" Hi", -0.25, b" Hi"),)
    shown, done = events(asked(stream="true", **{"include[]": "logprobs"}), [Delta(0, " Hi", 1, "stop", logprobs)])
    wanted = [{"token": " Hi", "logprob": -0.25, "bytes": [32, 72, 105]}]
    assert shown["logprobs"] == done["logprobs"] == wanted


def test_the_fast_path_fills_in_the_same_events() -> None:
    request = asked(stream="true")
    encoder = TranscriptEvents(request)
    encoder.opening(1, USAGE)
    templates = [encoder.text_template]
    encoder.encode(Delta(0, " Hi", 1))
    templates.append(encoder.text_template)
    assert templates[0] is None
    assert templates[1] is not None
    before, after = templates[1]
    event = orjson.loads(before + encoder.fill(" you<|1.00|>") + after)
    assert event == {"type": "transcript.text.delta", "delta": " you"}
    encoder.sent(" you<|1.00|>")
    assert orjson.loads(encoder.closing(USAGE)[0])["text"] == "Hi you"
