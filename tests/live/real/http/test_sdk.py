"""OpenAI's own SDK against the real server, synchronous and asynchronous, streamed and not."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from tests.live.servers.server import MODEL, Server

QUESTION = "Count from 1 to 300"
OPEN: dict[str, object] = {"messages": [{"role": "user", "content": "Hello"}]}
"""What has many answers. Of a count, the guide is so sure that two seeds often give the same."""
GREEDY = {"temperature": 0, "max_tokens": 24}
UNENDING = {"ignore_eos": True}
"""The length decides where an answer ends."""


def ask(server: Server, **more: object) -> openai.types.chat.ChatCompletion:
    options = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **GREEDY, **more}
    answer = server.sdk().chat.completions.create(**options)  # type: ignore[call-overload]  # built from a dict
    assert isinstance(answer, openai.types.chat.ChatCompletion)
    return answer


def stream_text(server: Server, **more: object) -> str:
    options = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **GREEDY, **more, "stream": True}
    chunks = server.sdk().chat.completions.create(**options)  # type: ignore[call-overload]  # built from a dict
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_chat_is_answered_whole(server: Server) -> None:
    answer = ask(server)
    assert answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 24
    assert answer.model == MODEL


def test_a_response_has_the_text_of_the_chat(server: Server) -> None:
    seeded = {"seed": 7, "min_tokens": 8}
    chat = ask(server, **OPEN, temperature=1, extra_body=seeded)
    asked: dict[str, object] = {"model": MODEL, "input": "Hello", "max_output_tokens": 24, "temperature": 1}
    with server.sdk() as sdk:
        whole = sdk.responses.create(**asked, extra_body=seeded)  # type: ignore[call-overload]  # built from a dict
        events = list(sdk.responses.create(**asked, stream=True, extra_body=seeded))  # type: ignore[call-overload]  # likewise
        counted = sdk.responses.input_tokens.count(model=MODEL, input="Hello")
    assert whole.output_text == events[-1].response.output_text == chat.choices[0].message.content
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == whole.output_text
    assert chat.usage is not None
    assert whole.usage.input_tokens == counted.input_tokens == chat.usage.prompt_tokens
    assert whole.usage.output_tokens == chat.usage.completion_tokens


def test_a_chat_is_streamed_from_its_role_to_its_usage(server: Server) -> None:
    chunks = list(
        server.sdk().chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}
    assert chunks[-2].choices[0].delta.content is None, "clients may stop at the reason, and miss the text beside it"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 24
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == ask(server).choices[0].message.content


async def test_the_asynchronous_client_gets_the_same(server: Server) -> None:
    async with server.async_sdk() as sdk:
        whole = await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=24
        )
        stream = await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=24, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        assert text == whole.choices[0].message.content
        completion = await sdk.completions.create(model=MODEL, prompt="Once", temperature=0, max_tokens=8)
        assert completion.choices[0].text
        assert [model.id async for model in sdk.models.list()] == [MODEL]


def test_completions_whole_streamed_and_of_many_prompts(server: Server) -> None:
    sdk = server.sdk()
    one = sdk.completions.create(model=MODEL, prompt="Once upon", temperature=0, max_tokens=12, extra_body=UNENDING)
    parts = sdk.completions.create(
        model=MODEL, prompt="Once upon", temperature=0, max_tokens=12, stream=True, extra_body=UNENDING
    )
    assert "".join(part.choices[0].text for part in parts) == one.choices[0].text
    two = sdk.completions.create(
        model=MODEL, prompt=["Once upon", "Twice"], temperature=0, max_tokens=12, extra_body=UNENDING
    )
    assert [choice.index for choice in two.choices] == [0, 1]
    assert two.choices[0].text == one.choices[0].text
    assert two.usage is not None
    assert two.usage.completion_tokens == 24
    ids = sdk.completions.create(
        model=MODEL, prompt=[5, 6, 7], temperature=0, max_tokens=4, echo=True, logprobs=2, extra_body=UNENDING
    )
    assert ids.choices[0].logprobs is not None
    assert len(ids.choices[0].logprobs.tokens or []) == 3 + 4
    predictions: list[object] = [*(ids.choices[0].logprobs.token_logprobs or [])]
    assert predictions[0] is None, "nothing predicts the first token"
    echoed = sdk.completions.create(model=MODEL, prompt="Once upon", max_tokens=0, echo=True)
    assert echoed.choices[0].text == "Once upon"
    assert echoed.usage is not None
    assert echoed.usage.completion_tokens == 0


def test_models_are_listed_and_found(server: Server) -> None:
    sdk = server.sdk()
    assert [model.id for model in sdk.models.list()] == [MODEL]
    assert sdk.models.retrieve(MODEL).owned_by == "twowire"
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.models.retrieve("gpt-4o")
    assert missing.value.code == "model_not_found"


def test_several_choices_greedy_and_not(server: Server) -> None:
    sampled = ask(server, n=3, temperature=2, seed=7, **OPEN)
    assert [choice.index for choice in sampled.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in sampled.choices}) > 1
    one = ask(server, **OPEN)
    assert sampled.usage is not None
    assert one.usage is not None
    assert sampled.usage.prompt_tokens == one.usage.prompt_tokens
    greedy = ask(server, n=2)
    assert greedy.choices[0].message.content == greedy.choices[1].message.content
    assert greedy.usage is not None
    assert greedy.usage.completion_tokens == 48
    chunks = server.sdk().chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": QUESTION}], n=3, max_tokens=9, stream=True
    )
    seen = {choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason}
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("temperature", [0, 2])
def test_a_choice_that_ends_before_the_others_is_no_silence(server: Server, temperature: float) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "n": 3, "max_tokens": 9}
    body |= {"stream": True, "temperature": temperature}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "keep-alive" not in answer.text


def test_a_nucleus_of_nothing_is_the_likeliest_token(server: Server) -> None:
    text = ask(server).choices[0].message.content
    answer = ask(server, temperature=2, top_p=0, n=2, max_tokens=24)
    assert [choice.message.content for choice in answer.choices] == [text, text]


def test_a_seed_repeats_the_answer(server: Server) -> None:
    texts = {ask(server, temperature=2, seed=11, **OPEN).choices[0].message.content for _ in range(3)}
    assert len(texts) == 1
    assert ask(server, temperature=2, seed=12, **OPEN).choices[0].message.content not in texts


def test_a_stop_string_ends_the_answer_and_is_not_in_it(server: Server) -> None:
    text = ask(server).choices[0].message.content or ""
    stop = text[8:11]
    for got in (ask(server, stop=stop).choices[0].message.content, stream_text(server, stop=[stop])):
        assert got == text[: text.index(stop)]
    assert ask(server, stop=stop).choices[0].finish_reason == "stop"
    assert ask(server, stop=["never in there at all"]).choices[0].message.content == text


def test_logit_bias_decides(server: Server) -> None:
    answer = ask(server, logit_bias={"65": 100}, max_tokens=5)
    assert len(set(answer.choices[0].message.content or "")) == 1


def test_logprobs_of_a_chat(server: Server) -> None:
    answer = ask(server, logprobs=True, top_logprobs=3)
    assert answer.choices[0].logprobs is not None
    entries = answer.choices[0].logprobs.content or []
    assert len(entries) == 24
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(top.logprob for top in entry.top_logprobs), "greedy takes the likeliest"
    whole = b"".join(bytes(entry.bytes or []) for entry in entries).decode()
    assert whole == answer.choices[0].message.content


def test_json_is_json_and_follows_its_schema(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
        "required": ["ok", "size"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "shape", "schema": schema, "strict": True}}
    more = {"response_format": wanted, "max_tokens": 200}
    answer = ask(server, **more)
    assert answer.choices[0].finish_reason == "stop"
    got = json.loads(answer.choices[0].message.content or "")
    assert isinstance(got["ok"], bool)
    assert got["size"] in ("small", "large")
    streamed = json.loads(stream_text(server, **more))
    assert streamed == got


def test_every_role_and_parts_of_text(server: Server) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": " kind."}]},
        {"role": "user", "content": "안녕 🙂"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "user", "content": "And?"},
    ]
    assert ask(server, messages=messages).choices[0].message.content


def test_text_of_several_bytes_is_never_cut(server: Server) -> None:
    # Random weights at a high temperature give all kinds of bytes; a cut character would not decode, or differ.
    for seed in range(5):
        more = {"temperature": 2, "seed": seed, "max_tokens": 200}
        assert stream_text(server, **more) == ask(server, **more).choices[0].message.content


def test_the_same_text_by_curl_like_bytes(server: Server) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **GREEDY}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        whole = client.post("/v1/chat/completions", json=body)
        streamed = client.post("/v1/chat/completions", json=body | {"stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["cache-control"] == "no-cache"
    assert streamed.headers["x-accel-buffering"] == "no"
    events = [line[6:] for line in streamed.text.split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    text = "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1])
    assert text == whole.json()["choices"][0]["message"]["content"] == ask(server).choices[0].message.content
