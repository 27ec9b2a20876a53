"""Images in the three APIs: what the engine is given for them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt
from protocol.images import ImageSource, images_of
from protocol.messages.request import MessagesRequest
from protocol.responses.input.items import ITEMS
from protocol.responses.objects import item_object
from protocol.responses.request import ResponseRequest
from protocol.validation.parse import request_from_object

DATA = "data:image/png;base64,AAAA"
CHAT = {"type": "image_url", "image_url": {"url": DATA, "detail": "low"}}
INPUT = {"type": "input_image", "image_url": DATA}
BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
TEXT = {"type": "text", "text": "What is it?"}


def chat(*messages: dict[str, Any]) -> ChatPrompt:
    body = {"model": "m", "messages": list(messages)}
    prompt = request_from_object(ChatCompletionRequest, body).generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


def responses(*items: dict[str, Any]) -> ChatPrompt:
    prompt = request_from_object(ResponseRequest, {"model": "m", "input": list(items)}).generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


def anthropic(*messages: dict[str, Any]) -> ChatPrompt:
    body = {"model": "m", "max_tokens": 8, "messages": list(messages)}
    return request_from_object(MessagesRequest, body).prompt


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def refused(prompt: Callable[..., ChatPrompt], *messages: dict[str, Any]) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        prompt(*messages)
    assert caught.value.fault.status == 400
    return caught.value


def part(param: str, **where: str) -> dict[str, Any]:
    return {"type": "image", "image": ImageSource(param, **(where or {"url": DATA}))}


QUESTION = {"type": "text", "text": "What is it?"}


def test_an_image_is_a_part_of_a_chats_content() -> None:
    prompt = chat({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, user(TEXT, CHAT))
    assert prompt.has_media
    assert prompt.messages[0]["content"] == "Hi"
    assert prompt.messages[2]["content"] == [QUESTION, part("messages[2].content[1]")]


def test_a_chat_of_text_has_no_parts() -> None:
    prompt = chat(user(TEXT, {"type": "text", "text": " Say."}))
    assert (prompt.has_media, prompt.messages[0]["content"]) == (False, "What is it? Say.")


@pytest.mark.parametrize("given", [{"type": "image_url", "image_url": DATA}, INPUT, CHAT | {"uuid": "mine"}])
def test_other_spellings_of_an_image_are_the_same(given: dict[str, Any]) -> None:
    assert chat(user(given)).messages[0]["content"] == [part("messages[0].content[0]")]


def test_an_image_of_a_response_is_a_part() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "It:"}, INPUT]}
    prompt = responses(user({"type": "input_text", "text": "What is it?"}, INPUT), call, output)
    assert prompt.has_media
    assert prompt.messages[0]["content"] == [QUESTION, part("input[0].content[1]")]
    assert prompt.messages[2] == {
        "role": "tool",
        "content": [{"type": "text", "text": "It:"}, part("input[2].output[1]")],
        "tool_call_id": "c",
    }


def test_what_is_stored_of_a_response_means_the_same() -> None:
    items = ITEMS.validate_python([user({"type": "input_text", "text": "a"}, INPUT)])
    stored = item_object(items[0], lambda prefix: f"{prefix}_1")
    assert stored["content"][1] == {"type": "input_image", "image_url": DATA, "detail": "auto"}
    assert item_object(ITEMS.validate_python([stored])[0], str) == stored


def test_an_image_of_anthropics_is_a_part() -> None:
    result = {"type": "tool_result", "tool_use_id": "c", "content": [TEXT, BLOCK], "is_error": True}
    url = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
    prompt = anthropic(user(TEXT, TEXT, BLOCK, result, url))
    assert prompt.has_media
    tool, said = prompt.messages
    expected = part("messages[0].content[3].content[1]", base64="AAAA")
    assert tool["content"] == [{"type": "text", "text": "Error:"}, QUESTION, expected]
    assert said["content"] == [
        {"type": "text", "text": "What is it?\nWhat is it?"},
        part("messages[0].content[2]", base64="AAAA"),
        part("messages[0].content[4]", url="https://a.example/b.png"),
    ]
    assert [source.param for source in images_of(prompt.messages)] == [
        "messages[0].content[3].content[1]",
        "messages[0].content[2]",
        "messages[0].content[4]",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,AAAA",
        "DATA:image/PNG;BASE64,AAAA",
        "data:;base64,AAAA",
        "data:image/jpeg;charset=utf-8;base64,AAAA",
        "http://a.example/b.png",
        "HTTPS://a.example/b.png",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    assert images_of(chat(user({"type": "image_url", "image_url": url})).messages)[0].url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://a.example/b.png",
        "gopher://a.example",
        "javascript:alert(1)",
        "//a.example/b.png",
        "data:image/png,AAAA",
        "data:image/png;base64",
        "data:image/png;base64;AAAA",
        "data:" + "a" * 300 + ";base64,AAAA",
        "https://a.example/" + "a" * 8192,
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    error = refused(
        chat, {"role": "user", "content": "Hi"}, user(TEXT, {"type": "image_url", "image_url": {"url": url}})
    )
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "messages[1].content[1].image_url.url")
    assert "passwd" not in error.message
    assert refused(responses, user({"type": "input_image", "image_url": url})).param == "input[0].content[0].image_url"


PART, CONTENT = "content[0]", Fault.UNSUPPORTED_CONTENT
WRONG: list[tuple[Callable[..., ChatPrompt], dict[str, Any], str, Fault]] = [
    (chat, user({"type": "image_url"}), f"{PART}.image_url", Fault.MISSING_FIELD),
    (chat, user({"type": "image_url", "image_url": None, "uuid": "a"}), f"{PART}.image_url", Fault.INVALID_TYPE),
    (chat, user({"type": "image_url", "image_url": {}}), f"{PART}.image_url.url", Fault.MISSING_FIELD),
    (chat, user(CHAT | {"image_url": {"url": DATA, "detail": "no"}}), f"{PART}.image_url.detail", Fault.INVALID_VALUE),
    (chat, user({"type": "image_pil", "image_pil": "x"}), f"{PART}.type", CONTENT),
    (chat, user({"type": "image_embeds", "image_embeds": "x"}), f"{PART}.type", CONTENT),
    (chat, user({"type": "video_url", "video_url": {"url": DATA}}), f"{PART}.type", CONTENT),
    (chat, {"role": "system", "content": [CHAT]}, PART, Fault.INVALID_VALUE),
    (chat, {"role": "assistant", "content": [CHAT]}, PART, Fault.INVALID_VALUE),
    (responses, {"role": "developer", "content": [INPUT]}, PART, Fault.INVALID_VALUE),
    (responses, user({"type": "input_image", "file_id": "file-1"}), f"{PART}.file_id", CONTENT),
    (responses, user({"type": "input_image"}), f"{PART}.image_url", Fault.MISSING_FIELD),
    (anthropic, user({"type": "image"}), f"{PART}.source", Fault.MISSING_FIELD),
    (anthropic, user(BLOCK | {"source": {"type": "file", "file_id": "f"}}), f"{PART}.source.type", CONTENT),
    (anthropic, user(BLOCK | {"source": {"type": "base64"}}), f"{PART}.source.data", Fault.MISSING_FIELD),
    (
        anthropic,
        user(BLOCK | {"source": {"type": "url", "url": "file:///a"}}),
        f"{PART}.source.url",
        Fault.INVALID_VALUE,
    ),
    (anthropic, {"role": "system", "content": [BLOCK]}, f"{PART}.type", CONTENT),
]


@pytest.mark.parametrize(("prompt", "message", "param", "fault"), WRONG)
def test_what_is_wrong_is_named(
    prompt: Callable[..., ChatPrompt], message: dict[str, Any], param: str, fault: Fault
) -> None:
    error = refused(prompt, message)
    expected = f"{'input' if prompt is responses else 'messages'}[0].{param}"
    assert (error.param, error.fault) == (expected, fault)
    assert expected in error.message


def test_the_image_is_in_no_representation() -> None:
    prompt = chat(user(CHAT))
    assert "AAAA" not in repr(prompt)
