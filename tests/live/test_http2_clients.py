"""Clients that people have, over HTTP/2 without TLS. With TLS: `tests/live/test_tls.py`."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.live.conftest import MODEL, Server, left_unharmed, start_fake_server, stop_server

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": True}
NUMBERS = [str(number) for number in range(50)]


@pytest.fixture(scope="module")
def fake() -> Iterator[Server]:
    server = start_fake_server(env={"FAKE_PACE_S": "0.001"})
    yield server
    assert stop_server(server) == 0


@pytest.fixture
def server(fake: Server) -> Iterator[Server]:
    with left_unharmed(fake):
        yield fake


def text_of(events: str) -> str:
    """The text of a whole stream."""
    *chunks, done = [event.removeprefix("data: ") for event in events.split("\n\n") if event.startswith("data: ")]
    assert done == "[DONE]"
    return "".join(json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks)


def curl(server: Server, *arguments: str) -> str:
    """What curl prints: the body, then the version of HTTP and the status."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    command = ["curl", "-sS", "-N", "-w", " %{http_version} %{http_code}", *arguments]
    return subprocess.run([*command], check=True, capture_output=True, text=True, timeout=60).stdout


def test_curl_streams_by_prior_knowledge(server: Server) -> None:
    flags = ("--http2-prior-knowledge", "-H", "Content-Type: application/json", "-d", json.dumps(BODY))
    output = curl(server, *flags, server.url + CHAT)
    assert output.endswith("data: [DONE]\n\n 2 200")
    assert text_of(output).split() == NUMBERS


@pytest.mark.parametrize("fields", [[], ["-H", "Content-Type: application/json", "-d", json.dumps(BODY)]])
def test_an_offer_of_h2c_is_answered_over_http1(server: Server, fields: list[str]) -> None:
    url = server.url + (CHAT if fields else "/v1/models")
    assert curl(server, "--http2", *fields, url).endswith(" 1.1 200")


async def test_many_streams_of_one_connection(server: Server) -> None:
    async with httpx.AsyncClient(http1=False, http2=True, base_url=server.url, timeout=60) as client:
        answers = await asyncio.gather(*(client.post(CHAT, json=BODY) for _ in range(200)))
        assert {(answer.http_version, answer.status_code) for answer in answers} == {("HTTP/2", 200)}
    assert all(text_of(answer.text).split() == NUMBERS for answer in answers)


def test_the_openai_library_streams(server: Server) -> None:
    with openai.DefaultHttpxClient(http1=False, http2=True, timeout=60) as transport:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", http_client=transport, max_retries=0)
        messages: list[openai.types.chat.ChatCompletionUserMessageParam] = [{"role": "user", "content": "hi"}]
        chunks = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=50, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text.split() == NUMBERS
