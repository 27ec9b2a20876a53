"""Fields that are known and not honoured: refused where they would change the answer, accepted where not."""

from __future__ import annotations

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {"model": "m", "prompt": "p"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("store", True),
        ("store", 1),
        ("web_search_options", {}),
        ("moderation", {"model": "m"}),
        ("best_of", 2),
        ("best_of", True),
        ("prompt_embeds", "AAAA"),
        ("repetition_detection", {"max_pattern_size": 4}),
        ("return_prompt_text", True),
    ],
)
def test_what_would_change_the_answer_is_refused(name: str, value: object) -> None:
    with pytest.raises(TwowireError) as caught:
        parse_request(ChatCompletionRequest, orjson.dumps({**CHAT, name: value}))
    error = caught.value
    assert (error.fault, error.param) == (Fault.UNSUPPORTED_FIELD, name)
    assert error.message.startswith(name)
    assert error.message.endswith("is not supported by this server yet; remove it.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", []),
        ("tool_choice", "none"),
        ("tool_choice", "auto"),
        ("functions", []),
        ("function_call", "auto"),
        ("parallel_tool_calls", True),
        ("modalities", ["text"]),
        ("prediction", {"type": "content", "content": "x"}),
        ("store", False),
        ("reasoning_effort", "none"),
        ("verbosity", "low"),
        ("service_tier", "flex"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_retention", "24h"),
        ("safety_identifier", "u"),
        ("use_beam_search", False),
        ("length_penalty", 1.0),
        ("session_id", "s"),
    ],
)
def test_what_would_change_nothing_is_accepted_and_known(name: str, value: object) -> None:
    request = parse_request(ChatCompletionRequest, orjson.dumps({**CHAT, name: value}))
    assert request.unknown_fields == ()


@pytest.mark.parametrize("model", [ChatCompletionRequest, CompletionRequest])
def test_null_is_accepted_for_all_of_them(
    model: type[ChatCompletionRequest] | type[CompletionRequest],
) -> None:
    body = CHAT if model is ChatCompletionRequest else COMPLETION
    request = parse_request(model, orjson.dumps({**body, **dict.fromkeys(model.field_rules)}))
    assert request.unknown_fields == ()


@pytest.mark.parametrize("model", [ChatCompletionRequest, CompletionRequest])
def test_no_field_is_both_honoured_and_not(
    model: type[ChatCompletionRequest] | type[CompletionRequest],
) -> None:
    assert not model.model_fields.keys() & model.field_rules.keys()


@pytest.mark.parametrize("name", ["chat_template", "documents"])
@pytest.mark.parametrize("model", [ChatCompletionRequest, CompletionRequest])
def test_nothing_in_a_request_reaches_the_template_but_messages(
    name: str, model: type[ChatCompletionRequest] | type[CompletionRequest]
) -> None:
    body = {**CHAT, **COMPLETION, name: "{{ cycler.__init__.__globals__ }}"}
    if model is ChatCompletionRequest:
        del body["prompt"]
    with pytest.raises(TwowireError) as caught:
        parse_request(model, orjson.dumps(body))
    assert (caught.value.fault, caught.value.param) == (Fault.CHAT_TEMPLATE_REFUSED, name)
    assert "globals" not in caught.value.message


@pytest.mark.parametrize("name", ["prompt_embeds", "use_beam_search", "top_logprobs"])
def test_completions_refuse_what_they_cannot_do(name: str) -> None:
    with pytest.raises(TwowireError) as caught:
        parse_request(CompletionRequest, orjson.dumps({**COMPLETION, name: True}))
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED_FIELD, name)
