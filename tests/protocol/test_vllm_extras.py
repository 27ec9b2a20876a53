"""vLLM's own fields of chats and completions: what they ask for, and how what they report is written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from protocol.chat.chunks import ChatChunks
from protocol.chat.request import ChatCompletionRequest
from protocol.chat.response import ChatCollector
from protocol.chat.schemas import ChatCompletion, ChatCompletionChunk
from protocol.chat.style import ChatStyle
from protocol.completions.chunks import CompletionChunks
from protocol.completions.request import CompletionRequest
from protocol.completions.response import CompletionCollector
from protocol.completions.schemas import Completion
from protocol.encoder import ChunkEncoder
from protocol.errors import Fault, TwowireError
from protocol.extras import NO_EXTRAS, Extras
from protocol.generation import GenerationRequest, JsonOutput, TextOutput
from protocol.output import Delta, PromptReport, Report, Usage
from protocol.validation.parse import parse_request

USER = {"role": "user", "content": "hi"}
TAGS = {
    "structures": [{"begin": "<call>", "schema": {"type": "object"}, "end": "</call>"}],
    "triggers": ["<call"],
}
COMMON: dict[str, Any] = {"answer_id": "x-1", "model": "m", "created": 5}


def chat(**more: Any) -> ChatCompletionRequest:
    return parse_request(ChatCompletionRequest, orjson.dumps({"model": "m", "messages": [USER], **more}))


def asked(**more: Any) -> GenerationRequest:
    made = chat(**more).generation_request()
    completion = parse_request(CompletionRequest, orjson.dumps({"model": "m", "prompt": "p", **more}))
    for name in ("constraint", "extras"):
        assert getattr(completion.generation_request(), name) == getattr(made, name), "as completions have it"
    return made


def refused(**more: Any) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        chat(**more)
    return caught.value


@pytest.mark.parametrize(
    ("field", "value", "constraint", "name"),
    [
        ("structured_outputs", {"json": {"type": "object"}}, JsonOutput({"type": "object"}), "structured_outputs.json"),
        ("structured_outputs", {"json": '{"type":"null"}'}, JsonOutput({"type": "null"}), "structured_outputs.json"),
        ("structured_outputs", {"json_object": True}, JsonOutput(), "structured_outputs.json_object"),
        ("structured_outputs", {"regex": "a+"}, TextOutput("regex", "a+"), "structured_outputs.regex"),
        ("structured_outputs", {"choice": ["a"]}, TextOutput("choice", '["a"]'), "structured_outputs.choice"),
        ("guided_json", {"type": "object"}, JsonOutput({"type": "object"}), "guided_json"),
        ("guided_json_object", True, JsonOutput(), "guided_json_object"),
        ("guided_regex", "a+", TextOutput("regex", "a+"), "guided_regex"),
        ("guided_choice", ["a", "b"], TextOutput("choice", '["a","b"]'), "guided_choice"),
        ("guided_grammar", 'root ::= "a"', TextOutput("grammar", 'root ::= "a"'), "guided_grammar"),
    ],
)
def test_each_form_reaches_the_engine_under_its_name(field: str, value: object, constraint: Any, name: str) -> None:
    made = asked(**{field: value})
    assert (made.constraint, made.constraint_field) == (constraint, name)


@pytest.mark.parametrize("given", [TAGS, orjson.dumps(TAGS).decode()])
def test_a_structural_tag_may_be_text(given: object) -> None:
    made = asked(structured_outputs={"structural_tag": given})
    assert isinstance(made.constraint, TextOutput)
    assert orjson.loads(made.constraint.text) == TAGS
    assert made.thinks is False or made.thinks is None


@pytest.mark.parametrize(
    ("fields", "fault", "param"),
    [
        ({"structured_outputs": {}}, Fault.INVALID_VALUE, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, Fault.INVALID_VALUE, "structured_outputs"),
        ({"structured_outputs": {"json": {"type": "x"}}}, Fault.INVALID_SCHEMA, "structured_outputs.json"),
        ({"structured_outputs": {"json": "{"}}, Fault.INVALID_VALUE, "structured_outputs.json"),
        ({"structured_outputs": {"choice": []}}, Fault.INVALID_VALUE, "structured_outputs.choice"),
        ({"structured_outputs": {"regex": "a" * 8193}}, Fault.INVALID_VALUE, "structured_outputs.regex"),
        ({"structured_outputs": {"regex": "(a{1,50}b){41}"}}, Fault.INVALID_VALUE, "structured_outputs.regex"),
        (
            {"structured_outputs": {"regex": "a", "whitespace_pattern": " "}},
            Fault.UNSUPPORTED_FIELD,
            "structured_outputs.whitespace_pattern",
        ),
        (
            {"structured_outputs": {"structural_tag": {"format": {}}}},
            Fault.UNSUPPORTED_FIELD,
            "structured_outputs.structural_tag",
        ),
        (
            {"structured_outputs": {"structural_tag": {**TAGS, "triggers": ["<other"]}}},
            Fault.INVALID_VALUE,
            "structured_outputs.structural_tag.structures[0].begin",
        ),
        ({"guided_regex": "a", "guided_choice": ["b"]}, Fault.INVALID_VALUE, "guided_regex"),
        ({"guided_regex": "a", "response_format": {"type": "json_object"}}, Fault.INVALID_VALUE, "guided_regex"),
        (
            {"structured_outputs": {"regex": "a"}, "tools": [{"type": "function", "function": {"name": "f"}}]},
            Fault.INVALID_VALUE,
            "structured_outputs.regex",
        ),
        ({"cache_salt": ""}, Fault.INVALID_VALUE, "cache_salt"),
        ({"prompt_logprobs": 21}, Fault.INVALID_VALUE, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, Fault.INVALID_VALUE, "prompt_logprobs"),
        ({"logprob_token_ids": [1]}, Fault.INVALID_VALUE, "logprob_token_ids"),
        ({"truncate_prompt_tokens": 0}, Fault.INVALID_VALUE, "truncate_prompt_tokens"),
        ({"truncation_side": "middle"}, Fault.INVALID_VALUE, "truncation_side"),
        ({"vllm_xargs": {str(name): 1 for name in range(65)}}, Fault.INVALID_VALUE, "vllm_xargs"),
        ({"use_beam_search": True}, Fault.UNSUPPORTED_FIELD, "use_beam_search"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(fields: dict[str, Any], fault: Fault, param: str) -> None:
    error = refused(**fields)
    assert (error.fault, error.param) == (fault, param)


def test_extras_reach_the_engine_and_cost_nothing_where_there_are_none() -> None:
    assert asked().extras is NO_EXTRAS
    made = asked(
        cache_salt="s",
        priority=3,
        truncate_prompt_tokens=-1,
        truncation_side="right",
        add_special_tokens=True,
        prompt_logprobs=0,
        return_token_ids=True,
        return_tokens_as_token_ids=True,
        vllm_xargs={"a": [1, "b"]},
        kv_transfer_params={"do_remote_decode": True},
    )
    assert made.extras == Extras("s", 3, -1, "right", True, 0, True, True, {"a": [1, "b"]}, {"do_remote_decode": True})


@pytest.mark.parametrize(("echo", "beginning"), [(True, "The sky"), (False, "")])
def test_an_echo_begins_the_answer_with_what_it_continues(echo: bool, beginning: str) -> None:
    last = {"role": "assistant", "content": "The sky"}
    request = chat(messages=[USER, last], continue_final_message=True, echo=echo)
    collector = ChatCollector(**COMMON, choices=1, style=request.style)
    collector.add([Delta(0, " is blue", 2, "stop")])
    assert orjson.loads(collector.body(Usage()))["choices"][0]["message"]["content"] == beginning + " is blue"
    (opening,) = ChatChunks(**COMMON, style=request.style).opening(1, Usage())
    assert orjson.loads(opening)["choices"][0]["delta"]["content"] == beginning
    assert chat(echo=echo).style.beginning == "", "nothing is continued"


DELTAS = [
    Delta(0, "", 0, report=Report(prompt=PromptReport([1, 2]))),
    Delta(1, "", 0, report=Report(prompt=PromptReport([1, 2]))),
    Delta(0, "a", 2, report=Report((3, 4))),
    Delta(1, "b", 1, "stop", report=Report((5,))),
    Delta(0, "", 1, "stop", report=Report((6,))),
]


def test_chunks_of_a_chat_tell_the_ids() -> None:
    encoder = ChatChunks(**COMMON, include_usage=True)
    chunks = [orjson.loads(chunk) for delta in DELTAS for chunk in encoder.encode(delta)]
    assert [chunk.get("prompt_token_ids") for chunk in chunks] == [[1, 2]] + [None] * (len(chunks) - 1)
    told: dict[int, list[int]] = {0: [], 1: []}
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert chunk["usage"] is None
        (choice,) = chunk["choices"]
        told[choice["index"]] += choice.get("token_ids", [])
    assert told == {0: [3, 4, 6], 1: [5]}


def test_chunks_of_a_completion_tell_the_ids() -> None:
    encoder: ChunkEncoder = CompletionChunks(**COMMON)
    choices = [orjson.loads(chunk)["choices"][0] for delta in DELTAS for chunk in encoder.encode(delta)]
    assert [choice["prompt_token_ids"] for choice in choices if "prompt_token_ids" in choice] == [[1, 2], [1, 2]]
    assert [choice["token_ids"] for choice in choices if choice.get("token_ids")] == [[3, 4], [5], [6]]


def test_whole_answers_tell_the_ids() -> None:
    chat_collector, completion = ChatCollector(**COMMON, choices=2), CompletionCollector(**COMMON, choices=2)
    for collector in (chat_collector, completion):
        collector.add(DELTAS)
    whole = orjson.loads(chat_collector.body(Usage()))
    ChatCompletion.model_validate(whole)
    assert whole["prompt_token_ids"] == [1, 2]
    assert [choice["token_ids"] for choice in whole["choices"]] == [[3, 4, 6], [5]]
    other = orjson.loads(completion.body(Usage()))
    Completion.model_validate(other)
    assert [choice["prompt_token_ids"] for choice in other["choices"]] == [[1, 2], [1, 2]]


def test_the_ids_of_hidden_thoughts_are_hidden() -> None:
    collector = ChatCollector(**COMMON, choices=1, style=ChatStyle(shows_reasoning=False))
    prompt = Delta(0, "", 0, report=Report(prompt=PromptReport([1])))
    collector.add([prompt, Delta(0, "Hm", 1, part="reasoning", report=Report((7,))), Delta(0, "a", 1, "stop")])
    whole = orjson.loads(collector.body(Usage()))
    assert whole["choices"][0]["token_ids"] == []


def test_the_logprobs_of_a_prompt_are_written_as_vllm_does() -> None:
    token = SimpleNamespace(logprob=float("-inf"), rank=40, decoded_token="b")
    report = Report(prompt=PromptReport(logprobs=[None, {7: token}]))
    written = [None, {"7": {"logprob": -9999.0, "rank": 40, "decoded_token": "b"}}]
    chat_collector, completion = ChatCollector(**COMMON, choices=1), CompletionCollector(**COMMON, choices=1)
    for collector in (chat_collector, completion):
        collector.add([Delta(0, "", 0, report=report), Delta(0, "a", 1, "stop")])
    whole = orjson.loads(chat_collector.body(Usage()))
    ChatCompletion.model_validate(whole)
    assert whole["prompt_logprobs"] == written
    assert "token_ids" not in whole["choices"][0]
    assert orjson.loads(completion.body(Usage()))["choices"][0]["prompt_logprobs"] == written


def test_a_kv_transfer_is_told_with_the_whole_answer() -> None:
    collector = ChatCollector(**COMMON, choices=1)
    collector.add([Delta(0, "a", 1, "stop", report=Report(kv_transfer_params={"remote_port": 7}))])
    assert orjson.loads(collector.body(Usage()))["kv_transfer_params"] == {"remote_port": 7}
