"""Clients that people have, over HTTP/2 without TLS. With TLS: `tests/live/fake/http/test_tls.py`."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from contextlib import suppress

import h2.events
import h2.exceptions
import hpack
import httpx
import openai
import orjson
import pytest

from tests.fuzz.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, Server

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": True}
NUMBERS = [str(number) for number in range(50)]


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


# -- much at once ------------------------------------------------------------------------------------------------------


def test_uploads_in_small_frames_on_all_streams(server: Server) -> None:
    with Http2Client(server.port) as client:
        body = orjson.dumps(BODY | {"messages": [{"role": "user", "content": "x" * 4000}], "max_tokens": 2})
        opened = [client.open(CHAT, b"", ends=False) for _ in range(100)]
        for at in range(0, len(body), 64):
            for stream in opened:
                client.send(stream, body[at : at + 64])
        for stream in opened:
            client.send(stream, b"", ends=True)
        assert {client.finish(stream).status for stream in opened} == {200}


def test_updates_of_windows_for_each_frame_of_many_fast_streams(server: Server) -> None:
    with FrequentUpdates(server.port, takes=False) as client:
        opened = [client.open(CHAT, BODY | {"max_tokens": 1000}) for _ in range(64)]
        for stream in opened:
            assert client.finish(stream).body.endswith(b"data: [DONE]\n\n")


class FrequentUpdates(Http2Client):
    """Opens both windows again by what each frame took, in two parts; some clients send nearly as many updates."""

    def _note(self, event: h2.events.Event) -> None:
        super()._note(event)
        if isinstance(event, h2.events.DataReceived) and (size := event.flow_controlled_length or 0) > 1:
            for part in (1, size - 1):
                self.h2.increment_flow_control_window(part)
                with suppress(h2.exceptions.StreamClosedError):
                    self.h2.increment_flow_control_window(part, event.stream_id)


def test_a_client_that_opens_no_more_streams_gets_the_rest_of_its_answers(server: Server) -> None:
    hello, body = PREFACE + frame(SETTINGS, 0, 0), orjson.dumps(BODY | {"max_tokens": 300})
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", CHAT)]
    block = hpack.Encoder().encode([*fields, ("content-type", "application/json")])
    with RawClient(server.port) as client:
        client.send(hello + frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, body))
        client.read_until(b"data: ")
        client.send(frame(GOAWAY, 0, 0, bytes(8)) + frame(WINDOW_UPDATE, 0, 0, b"\0\1\0\0"))
        client.read_until(b"data: [DONE]")


def test_many_requests_cancelled_now_and_then(server: Server) -> None:
    with Http2Client(server.port) as client:
        for _ in range(2):
            for stream in [client.open(CHAT, BODY) for _ in range(50)]:
                client.reset(stream)
        assert client.ask("/livez").status == 200
