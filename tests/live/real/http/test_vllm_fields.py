"""vLLM's own fields against the real engine."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.live.servers.server import MODEL, Server
from twowire_client import Channel

ASK = [{"role": "user", "content": "Is the sky blue?"}]


def chat(server: Server, status: int = 200, **more: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": ASK, "temperature": 0, "max_tokens": 24, **more}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("form", "pattern"),
    [
        ({"structured_outputs": {"choice": ["maybe so", "never"]}}, "maybe so|never"),
        ({"structured_outputs": {"regex": r"[0-9]{3}-[a-c]{2}"}}, r"[0-9]{3}-[a-c]{2}"),
        ({"guided_grammar": 'root ::= "x" [yz] "!"'}, "x[yz]!"),
        (
            {
                "structured_outputs": {
                    "structural_tag": {
                        "structures": [{"begin": "<n>", "schema": {"type": "integer"}, "end": "</n>"}],
                        "triggers": ["<n>"],
                    }
                }
            },
            ".*",
        ),
    ],
    ids=["choice", "regex", "grammar", "structural tag"],
)
def test_an_answer_has_the_form_that_was_asked_for(server: Server, form: dict[str, Any], pattern: str) -> None:
    assert re.fullmatch(pattern, text_of(chat(server, **form, temperature=1)), re.DOTALL)


async def test_the_channel_has_the_forms(server: Server) -> None:
    async with Channel.connect(server.url) as channel:
        wanted = {"choice": ["maybe so", "never"]}
        stream = await channel.create(model=MODEL, messages=ASK, max_tokens=24, structured_outputs=wanted)
        assert (await stream.text()) in wanted["choice"]


def test_a_form_that_cannot_be_compiled_is_refused_by_its_name(server: Server) -> None:
    error = chat(server, 400, structured_outputs={"regex": "("})["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "structured_outputs.regex")
    assert "regex" in error["message"]


def test_a_salt_keeps_cached_prompts_apart(server: Server) -> None:
    long = [{"role": "user", "content": "Salted, " + "and so on, " * 300}]

    def cached(**more: Any) -> int:
        usage = chat(server, messages=long, max_tokens=1, **more)["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert cached(cache_salt="one") == 0
    assert cached(cache_salt="one") > 0
    assert cached(cache_salt="two") == 0
    assert cached() == 0


def test_the_prompt_is_told_with_its_ids_and_logprobs(server: Server) -> None:
    answer = chat(server, prompt_logprobs=2, return_token_ids=True, max_tokens=4)
    ids, logprobs = answer["prompt_token_ids"], answer["prompt_logprobs"]
    assert len(ids) == len(logprobs) == answer["usage"]["prompt_tokens"]
    assert logprobs[0] is None
    for token_id, candidates in zip(ids[1:], logprobs[1:], strict=True):
        assert str(token_id) in candidates
        assert 2 <= len(candidates) <= 3
    assert len(answer["choices"][0]["token_ids"]) == answer["usage"]["completion_tokens"] == 4


def test_streams_tell_the_same_ids(server: Server) -> None:
    whole = chat(server, return_token_ids=True, max_tokens=8, ignore_eos=True)
    body = {"model": MODEL, "messages": ASK, "temperature": 0, "max_tokens": 8, "ignore_eos": True}
    answer = httpx.post(
        f"{server.url}/v1/chat/completions", json=body | {"stream": True, "return_token_ids": True}, timeout=60
    )
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    ids = [token_id for chunk in chunks for choice in chunk["choices"] for token_id in choice.get("token_ids", [])]
    assert ids == whole["choices"][0]["token_ids"]
    assert [chunk["prompt_token_ids"] for chunk in chunks if "prompt_token_ids" in chunk] == [whole["prompt_token_ids"]]


def test_chosen_candidates_are_reported(server: Server) -> None:
    answer = chat(server, logprobs=True, logprob_token_ids=[5, 9], return_tokens_as_token_ids=True, max_tokens=2)
    for token in answer["choices"][0]["logprobs"]["content"]:
        assert token["token"].startswith("token_id:")
        assert {"token_id:5", "token_id:9"} <= {top["token"] for top in token["top_logprobs"]}


def test_a_long_prompt_is_cut_where_asked(server: Server) -> None:
    answer = chat(server, truncate_prompt_tokens=5, return_token_ids=True, max_tokens=1)
    whole = chat(server, return_token_ids=True, max_tokens=1)
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["prompt_token_ids"] == whole["prompt_token_ids"][-5:]


def test_what_needs_an_option_says_so(server: Server) -> None:
    assert "--scheduling-policy" in chat(server, 400, priority=1)["error"]["message"]
    assert "allowed: none" in chat(server, 400, vllm_xargs={"a": 1})["error"]["message"]
    assert "--allow-kv-transfer-params" in chat(server, 400, kv_transfer_params={"a": 1})["error"]["message"]


def test_tokens_there_and_back_are_those_of_a_chat(server: Server) -> None:
    def post(path: str, **body: Any) -> dict[str, Any]:
        answer = httpx.post(f"{server.url}{path}", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    asked = chat(server, return_token_ids=True, max_tokens=1)
    told = post("/tokenize", messages=ASK, return_token_strs=True)
    assert told["tokens"] == asked["prompt_token_ids"]
    assert told["count"] == len(told["token_strs"]) == asked["usage"]["prompt_tokens"]
    assert "Is the sky blue?" in post("/detokenize", tokens=told["tokens"])["prompt"]
    assert httpx.get(f"{server.url}/tokenizer_info").status_code == 404
