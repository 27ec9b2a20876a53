"""vLLM's routes of the tokenizer, on a fake engine."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart

from protocol.generation import ChatPrompt, TextPrompt
from tests.app.routes.test_messages import serving

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


async def post(app: Quart, path: str, **body: Any) -> tuple[int, Any]:
    response = await app.test_client().post(path, json=body)
    return response.status_code, await response.get_json()


async def test_a_text_and_a_chat_become_tokens() -> None:
    async with serving() as (app, factory):
        told = {"count": 3, "max_model_len": 2048, "tokens": [1, 2, 3], "token_strs": None}
        assert await post(app, "/tokenize", prompt="Hi") == (200, told)
        status, body = await post(app, "/tokenize", model="guide", **CHAT, return_token_strs=True)
        assert (status, body["token_strs"]) == (200, ["t1", "t2", "t3"])
        text, chat = factory.engines[-1].counted
        assert text.prompt == TextPrompt(["Hi"])
        assert isinstance(chat.prompt, ChatPrompt)
        assert chat.prompt.add_generation_prompt


@pytest.mark.parametrize(
    ("fields", "begins", "continues"),
    [
        ({}, True, False),
        ({"add_generation_prompt": False}, False, False),
        ({"continue_final_message": True}, False, True),
        ({"continue_final_message": True, "add_generation_prompt": False}, False, True),
    ],
)
async def test_a_chat_ends_as_it_is_asked_to(fields: dict[str, Any], begins: bool, continues: bool) -> None:
    async with serving() as (app, factory):
        assert (await post(app, "/tokenize", **CHAT, **fields, add_special_tokens=True))[0] == 200
        (request,) = factory.engines[-1].counted
        assert isinstance(request.prompt, ChatPrompt)
        assert (request.prompt.add_generation_prompt, request.prompt.continue_final_message) == (begins, continues)
        assert request.extras.add_special_tokens is True


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": "a", **CHAT}, 400, "prompt"),
        ("/tokenize", {"prompt": "a", "model": "other"}, 404, "model"),
        ("/tokenize", {**CHAT, "chat_template": "{{ x }}"}, 400, "chat_template"),
        (
            "/tokenize",
            {**CHAT, "continue_final_message": True, "add_generation_prompt": True},
            400,
            "add_generation_prompt",
        ),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens[0]"),
        ("/detokenize", {}, 400, "tokens"),
    ],
)
async def test_what_is_wrong_is_named(path: str, body: dict[str, Any], status: int, param: str) -> None:
    async with serving() as (app, _):
        answered, error = await post(app, path, **body)
        assert (answered, error["error"]["param"]) == (status, param)


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens", "/v1/responses/input_tokens"])
async def test_each_client_is_counted_for_by_itself(path: str) -> None:
    """Nothing that the tokenizer keeps of one key's prompts makes another's faster."""
    body = {"model": "guide", "input": "Hi"} if "responses" in path else {"model": "guide", **CHAT}
    async with serving(TWOWIRE_API_KEYS="one-long-key,another-long-key") as (app, factory):
        for key in ("one-long-key", "another-long-key", "one-long-key"):
            answer = await app.test_client().post(path, json=body, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200, await answer.get_data()
        one, another, again = factory.engines[-1].counted_for
        assert one == again != another
        assert "" not in (one, another)


async def test_tokens_become_a_text_and_count_as_requests() -> None:
    async with serving("--requests-per-minute", "2") as (app, _):
        assert await post(app, "/detokenize", tokens=[4, 5]) == (200, {"prompt": "4 5"})
        assert (await post(app, "/tokenize", prompt="a"))[0] == 200
        assert (await post(app, "/detokenize", tokens=[4]))[0] == 429


async def test_the_tokenizer_is_shown_only_where_the_operator_says_so() -> None:
    async with serving() as (app, _):
        assert (await app.test_client().get("/tokenizer_info")).status_code == 404
    async with serving("--tokenizer-info") as (app, _):
        shown = await (await app.test_client().get("/tokenizer_info")).get_json()
        assert shown == {"eos_token": "<end>", "tokenizer_class": "FakeTokenizer", "chat_template": "{{ messages }}"}
