"""Greedy decoding gives one text, however it is asked for and whatever else the engine computes meanwhile.

The shared server computes in float32: in bfloat16 the batch's size may turn a near tie.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.live.servers.server import MODEL, Server

MESSAGES = [{"role": "user", "content": "Count from 1 to 300"}]
PROMPT = "<|im_start|>user\nCount from 1 to 300<|im_end|>\n<|im_start|>assistant\n"
TOKENS = 160
BODY = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "max_tokens": TOKENS}
PROMPT_BODY = {"model": MODEL, "prompt": PROMPT, "temperature": 0, "max_tokens": TOKENS}
NEIGHBOURS = 16


def by_sdk(server: Server) -> str:
    answer = server.sdk().chat.completions.create(**BODY)  # type: ignore[call-overload]  # built from a dict
    assert answer.usage.completion_tokens == TOKENS
    text = answer.choices[0].message.content
    assert isinstance(text, str)
    return text


def by_sdk_streamed(server: Server) -> str:
    chunks = server.sdk().chat.completions.create(**BODY, stream=True)  # type: ignore[call-overload]  # same
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def curl(url: str, body: dict[str, object]) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl here")
    command = [program, "--silent", "--show-error", "--fail", "--no-buffer", "--max-time", "60", url]
    command += ["--header", "Content-Type: application/json", "--data-binary", "@-"]
    done = subprocess.run(command, input=json.dumps(body).encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def events(text: str) -> list[dict[str, object]]:
    payloads = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    assert payloads[-1] == "[DONE]"
    return [json.loads(payload) for payload in payloads[:-1]]


def by_curl(server: Server) -> str:
    answer = json.loads(curl(f"{server.url}/v1/chat/completions", BODY))
    text = answer["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def by_curl_streamed(server: Server) -> str:
    chunks = events(curl(f"{server.url}/v1/chat/completions", BODY | {"stream": True}))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]  # type: ignore[attr-defined]  # JSON
    return "".join(delta.get("content") or "" for delta in deltas)


def assert_says_something(text: str) -> None:
    """Long, and no loop of a few characters, which would be the same by accident."""
    assert len(text) >= TOKENS // 2
    assert len(set(text)) >= 8, text
    assert text[:20] not in text[20:], text


def test_a_chat_is_the_same_by_sdk_and_curl_whole_and_streamed(server: Server) -> None:
    text = by_sdk(server)
    assert_says_something(text)
    assert by_sdk_streamed(server) == text
    assert by_curl(server) == text
    assert by_curl_streamed(server) == text


def test_a_completion_is_the_same_by_sdk_and_curl_whole_and_streamed(server: Server) -> None:
    url, sdk = f"{server.url}/v1/completions", server.sdk()
    text = sdk.completions.create(**PROMPT_BODY).choices[0].text  # type: ignore[call-overload]  # built from a dict
    assert_says_something(text)
    parts = sdk.completions.create(**PROMPT_BODY, stream=True)  # type: ignore[call-overload]  # same
    assert "".join(part.choices[0].text for part in parts) == text
    assert json.loads(curl(url, PROMPT_BODY))["choices"][0]["text"] == text
    chunks = events(curl(url, PROMPT_BODY | {"stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text  # type: ignore[index]  # JSON


@asynccontextmanager
async def neighbours(server: Server) -> AsyncIterator[list[int]]:
    """Other requests of all lengths that run until the block is left; the list counts the chunks that each got."""
    got = [0] * NEIGHBOURS

    async def run(client: httpx.AsyncClient, number: int) -> None:
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "other " * (1 + number * 9)}],
            "max_tokens": 50 + 40 * number,
            "stream": True,
        }
        while True:
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                assert response.status_code == 200
                async for part in response.aiter_bytes():
                    got[number] += part.count(b"data: ")

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        tasks = [asyncio.create_task(run(client, number)) for number in range(NEIGHBOURS)]
        try:
            async with asyncio.timeout(30):
                while not all(got):
                    assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
                    await asyncio.sleep(0.02)  # Between two questions.
            yield got
            assert not any(task.done() for task in tasks), "a neighbour ended"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_text_does_not_depend_on_what_runs_beside_it(server: Server) -> None:
    alone = await asyncio.to_thread(by_sdk, server)
    assert_says_something(alone)
    async with neighbours(server) as got:
        before = sum(got)
        beside = await asyncio.gather(
            *(asyncio.to_thread(ask, server) for ask in (by_sdk, by_sdk_streamed, by_curl, by_curl_streamed))
        )
        assert sum(got) - before > NEIGHBOURS, "nothing ran beside it"
    assert set(beside) == {alone}


def test_an_answer_that_was_cut_goes_on_as_if_it_had_not_been(server: Server) -> None:
    client, question = server.sdk(), {"role": "user", "content": "Hello"}

    def ask(messages: list[dict[str, str]], limit: int, **more: object) -> str:
        body = {"model": MODEL, "messages": messages, "max_tokens": limit, "temperature": 0}
        answer = client.chat.completions.create(**body, extra_body=more)  # type: ignore[call-overload]  # its fields are in a dict
        return str(answer.choices[0].message.content)

    whole, first = ask([question], 48), ask([question], 24)
    assert whole.startswith(first)
    # Split in the middle, the text becomes the same tokens again only where it stands between words.
    cut = first[: first.rfind(" ")] if " " in first else first
    rest = ask([question, {"role": "assistant", "content": cut}], 48, continue_final_message=True)
    assert (cut + rest).startswith(whole)
