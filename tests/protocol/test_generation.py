"""Each API's request as the engine takes it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, JsonOutput, Sampling, TextPrompt
from protocol.sampling import SamplingFields
from protocol.validation.parse import parse_request

NOT_SAMPLING = {"model", "n", "response_format", "stream", "stream_options", "user", "metadata"}


def chat(*messages: dict[str, Any], **more: Any) -> GenerationRequest:
    body = {"model": "m", "messages": messages or ({"role": "user", "content": "hi"},), **more}
    return parse_request(ChatCompletionRequest, orjson.dumps(body)).generation_request()


def completion(prompt: object = "p", **more: Any) -> GenerationRequest:
    body = {"model": "m", "prompt": prompt, **more}
    return parse_request(CompletionRequest, orjson.dumps(body)).generation_request()


def test_every_sampling_field_has_its_place() -> None:
    of_chats = {"logprobs", "logprob_token_ids", "include_stop_str_in_output"}
    assert SamplingFields.model_fields.keys() - NOT_SAMPLING == {field.name for field in fields(Sampling)} - of_chats


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.5),
        ("top_p", 0.9),
        ("top_k", 7),
        ("min_p", 0.1),
        ("seed", 11),
        ("frequency_penalty", 0.25),
        ("presence_penalty", -0.25),
        ("repetition_penalty", 1.5),
        ("allowed_token_ids", [1, 2]),
        ("bad_words", ["x"]),
        ("stop_token_ids", [3]),
        ("max_tokens", 5),
        ("min_tokens", 2),
        ("ignore_eos", True),
        ("skip_special_tokens", False),
        ("include_stop_str_in_output", True),
    ],
)
def test_a_sampling_field_reaches_the_engine(name: str, value: object) -> None:
    assert getattr(chat(**{name: value}).sampling, name) == value
    assert getattr(completion(**{name: value}).sampling, name) == value


def test_a_chat_is_its_messages_and_what_the_template_needs() -> None:
    request = chat(
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        chat_template_kwargs={"enable_thinking": False},
        continue_final_message=True,
        n=2,
    )
    messages = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]
    assert request.prompt == ChatPrompt(messages, {"enable_thinking": False}, continue_final_message=True)
    assert (request.n, request.prompt_count, request.is_streamed) == (2, 1, False)
    assert (request.fields.prompt, request.fields.logprobs) == ("messages", "top_logprobs")


def test_a_completion_is_its_prompts() -> None:
    request = completion(["a", "b"], echo=True, stream=True)
    assert request.prompt == TextPrompt(["a", "b"], echo=True)
    assert (request.n, request.prompt_count, request.is_streamed) == (1, 2, True)
    assert completion([1, 2]).prompt == TextPrompt([[1, 2]])
    assert completion().sampling.max_tokens == 16
    assert (request.fields.prompt, request.fields.logprobs) == ("prompt", "logprobs")


def test_log_probabilities_are_a_number_of_candidates() -> None:
    assert chat().sampling.logprobs is None
    assert chat(logprobs=True).sampling.logprobs == 0
    assert chat(logprobs=True, top_logprobs=4).sampling.logprobs == 4
    assert completion(logprobs=3).sampling.logprobs == 3


@pytest.mark.parametrize("build", [chat, completion])
def test_a_response_format_is_a_constraint(build: Any) -> None:
    assert build().constraint is None
    assert build(response_format={"type": "text"}).constraint is None
    assert build(response_format={"type": "json_object"}).constraint == JsonOutput()
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert build(response_format=wanted).constraint == JsonOutput({"type": "object"})


def test_a_suffix_is_refused() -> None:
    with pytest.raises(TwowireError) as refused:
        completion(suffix="b")
    assert (refused.value.fault, refused.value.param) == (Fault.UNSUPPORTED_FIELD, "suffix")
    assert completion(suffix="").prompt == TextPrompt(["p"])
