"""Sound in chats and responses: what the engine is given for it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt
from protocol.messages.request import MessagesRequest
from protocol.responses.input.items import ITEMS
from protocol.responses.objects import item_object
from protocol.responses.request import ResponseRequest
from protocol.sounds import SoundSource, sounds_of
from protocol.validation.parse import request_from_object

SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
URL = {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def chat(*messages: dict[str, Any]) -> ChatPrompt:
    body = {"model": "m", "messages": list(messages)}
    prompt = request_from_object(ChatCompletionRequest, body).generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


def refused(*messages: dict[str, Any]) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        chat(*messages)
    return caught.value


@pytest.mark.parametrize("given", [SOUND, URL, URL | {"audio_url": "DATA:;base64,AAAA"}])
def test_sound_is_a_part_of_a_chats_content(given: dict[str, Any]) -> None:
    prompt = chat({"role": "user", "content": "Hi"}, user({"type": "text", "text": "What is it?"}, given))
    assert prompt.has_media
    source = SoundSource("messages[1].content[1]", "AAAA")
    assert prompt.messages[1]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "audio", "audio": source},
    ]
    assert "AAAA" not in repr(prompt)


def test_a_response_takes_it_and_stores_what_means_the_same() -> None:
    body = {"model": "m", "input": [user({"type": "input_text", "text": "a"}, SOUND)]}
    prompt = request_from_object(ResponseRequest, body).generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    assert sounds_of(prompt.messages) == [SoundSource("input[0].content[1]", "AAAA")]
    for given in (SOUND, URL):
        stored = item_object(ITEMS.validate_python([user(given)])[0], lambda prefix: f"{prefix}_1")
        assert stored["content"][0]["input_audio"]["data"] == "AAAA"
        assert item_object(ITEMS.validate_python([stored])[0], str) == stored


AT = "messages[0].content[0]"


@pytest.mark.parametrize(
    ("message", "param", "fault"),
    [
        (user({"type": "input_audio"}), f"{AT}.input_audio", Fault.MISSING_FIELD),
        (user({"type": "input_audio", "input_audio": {}}), f"{AT}.input_audio.data", Fault.MISSING_FIELD),
        (user({"type": "input_audio", "input_audio": {"data": 5}}), f"{AT}.input_audio.data", Fault.INVALID_TYPE),
        (user(URL | {"audio_url": {"url": "https://a.example/a.mp3"}}), f"{AT}.audio_url.url", Fault.INVALID_VALUE),
        (user(URL | {"audio_url": "file:///etc/passwd"}), f"{AT}.audio_url.url", Fault.INVALID_VALUE),
        ({"role": "system", "content": [SOUND]}, AT, Fault.INVALID_VALUE),
        ({"role": "tool", "tool_call_id": "c", "content": [SOUND]}, AT, Fault.INVALID_VALUE),
    ],
)
def test_what_is_wrong_is_named(message: dict[str, Any], param: str, fault: Fault) -> None:
    error = refused(message)
    assert error.fault is fault
    assert (error.param or "").removesuffix(".url") == param.removesuffix(".url")


def test_a_calls_output_has_no_sound() -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "a"}, SOUND]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    with pytest.raises(TwowireError) as caught:
        request_from_object(ResponseRequest, {"model": "m", "input": [call, output]})
    assert (caught.value.fault, caught.value.param) == (Fault.INVALID_VALUE, "input[1].output[1]")


def test_anthropics_messages_have_no_sound() -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [user(SOUND)]}
    with pytest.raises(TwowireError) as caught:
        request_from_object(MessagesRequest, body)
    assert caught.value.fault is Fault.UNSUPPORTED_CONTENT
