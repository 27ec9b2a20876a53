"""Images through vLLM, on a tiny model that the test makes: three APIs, both wires, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.engine.media.pictures import data_url, giant, picture
from tests.live.servers.models.image_model import IMAGE_TOKENS, make_image_model
from tests.live.servers.server import Server, start_server, stop_server
from twowire_client import Channel

DOCUMENT = Path(__file__).parents[4] / "docs" / "guides" / "images.md"
MODEL = "tiny-eyes"
KEYS = ("key-of-one-tenant", "key-of-another-one")
RED, BLUE = data_url(picture(80, 60, "red")), data_url(picture(80, 60, "blue"))


class Pictures(BaseHTTPRequestHandler):
    """A host with a picture, a redirect to it, and one that never answers."""

    asked: list[str]
    released: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/slow":
            self.released.wait(120)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/red.png")
            self.end_headers()
            return
        body = picture(80, 60, "red")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving_pictures() -> Iterator[tuple[str, list[str]]]:
    """The host's name with its port, and what it was asked for."""
    asked: list[str] = []
    released = threading.Event()
    handler = type("Handler", (Pictures,), {"asked": asked, "released": released})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"localhost:{server.server_port}", asked
        finally:
            released.set()
            server.shutdown()


@pytest.fixture(scope="module")
def pictures() -> Iterator[tuple[str, list[str]]]:
    with serving_pictures() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, pictures: tuple[str, list[str]]) -> Iterator[Server]:
    model = make_image_model(tmp_path_factory.mktemp("model") / MODEL)
    images = ("--media-domains", pictures[0], "--media-private-networks", "127.0.0.1/32,::1/128")
    limits = ("--media-timeout-s", "5", "--limit-mm-per-prompt", '{"image":20}', "--mm-processor-cache-gb", "0.1")
    server = start_server(
        *("--model", str(model), "--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "8"),
        *images,
        *limits,
        env={"TWOWIRE_API_KEYS": ",".join(KEYS)},
    )
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


def sdk(server: Server, key: str = KEYS[0]) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=120)


def content(*urls: str, text: str = "What is it?") -> list[Any]:
    return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]


def asked(server: Server, *urls: str, key: str = KEYS[0]) -> Any:
    return sdk(server, key).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content(*urls)}],
        max_completion_tokens=12,
        temperature=0,
        extra_body={"ignore_eos": True},
    )


def refused(server: Server, *urls: str) -> Any:
    with pytest.raises(openai.BadRequestError) as caught:
        asked(server, *urls)
    return caught.value


def test_the_model_says_that_it_takes_images(server: Server) -> None:
    (model,) = sdk(server).models.list().data
    assert model.input_modalities == ["text", "image"]  # type: ignore[attr-defined]  # ours


def test_an_image_is_read_and_counted(server: Server) -> None:
    none, red, again, blue = (asked(server, *urls) for urls in ([], [RED], [RED], [BLUE]))
    details = red.usage.prompt_tokens_details
    assert details.image_tokens >= IMAGE_TOKENS
    assert red.usage.prompt_tokens == none.usage.prompt_tokens + details.image_tokens
    texts = [answer.choices[0].message.content for answer in (none, red, again, blue)]
    assert texts[1] == texts[2]
    assert len(set(texts)) == 3, "what is seen changes what is said"


def test_all_apis_and_wires_read_the_same(server: Server) -> None:
    expected = asked(server, RED).choices[0].message.content
    client, options = sdk(server), {"ignore_eos": True}
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content(RED)}],
        max_completion_tokens=12,
        temperature=0,
        stream=True,
        extra_body=options,
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == expected
    response = client.responses.create(
        model=MODEL,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is it?"},
                    {"type": "input_image", "image_url": RED, "detail": "auto"},
                ],
            }
        ],
        max_output_tokens=12,
        temperature=0,
        extra_body=options,
    )
    assert response.output_text == expected
    assert asyncio.run(_on_the_channel(server)) == expected
    said = _anthropics(server)
    assert expected.startswith(said["content"][0]["text"]), "it may end by itself"
    usage = said["usage"]
    assert response.usage is not None
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == response.usage.input_tokens


def _anthropics(server: Server) -> Any:
    data = base64.b64encode(picture(80, 60, "red")).decode()
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    asking = {"role": "user", "content": [{"type": "text", "text": "What is it?"}, block]}
    body = {"model": MODEL, "max_tokens": 12, "temperature": 0, "messages": [asking]}
    return httpx.post(f"{server.url}/v1/messages", json=body, headers={"x-api-key": KEYS[0]}, timeout=120).json()


async def _on_the_channel(server: Server) -> str:
    async with Channel.connect(server.url, api_key=KEYS[0]) as channel:
        generation = await channel.create(
            model=MODEL,
            messages=[{"role": "user", "content": content(RED)}],
            max_completion_tokens=12,
            temperature=0,
            ignore_eos=True,
        )
        return await generation.text()


def test_a_named_host_is_fetched_from(server: Server, pictures: tuple[str, list[str]]) -> None:
    answer = asked(server, f"http://{pictures[0]}/red.png")
    assert answer.choices[0].message.content == asked(server, RED).choices[0].message.content
    assert pictures[1].count("/red.png") == 1


def test_what_goes_wrong_names_the_part_and_harms_nobody(server: Server, pictures: tuple[str, list[str]]) -> None:
    host, broken = pictures[0], base64.b64encode(picture(80, 60, "red")[:60]).decode()
    cases = [
        (f"http://{host}/moved", "invalid_image_url"),
        (f"http://{host}/slow", "invalid_image_url"),
        (f"http://127.0.0.1:{server.port}/health", "invalid_image_url"),
        ("https://example.com/a.png", "invalid_image_url"),
        (data_url(giant(40_000, 40_000)), "image_too_large"),
        (f"data:image/png;base64,{broken}", "image_parse_error"),
        ("data:image/png;base64,%%%%", "image_parse_error"),
    ]
    with ThreadPoolExecutor() as pool:
        running = pool.submit(asked, server, BLUE)
        errors = list(pool.map(lambda case: refused(server, RED, case[0]), cases))
        assert running.result().choices[0].message.content
    assert [error.code for error in errors] == [code for _, code in cases]
    assert {error.param for error in errors} == {"messages[0].content[2]"}
    assert asked(server, RED).choices[0].message.content


def test_twenty_images_are_read_and_one_more_is_refused(server: Server) -> None:
    urls = [data_url(picture(20 + number, 20, "green")) for number in range(21)]
    answer = asked(server, *urls[:20])
    assert answer.usage.prompt_tokens_details.image_tokens >= 20 * IMAGE_TOKENS
    error = refused(server, *urls)
    assert (error.code, error.param) == ("invalid_value", "messages[0].content[21]")


def test_an_id_of_the_clients_shows_nobody_anothers_image(server: Server) -> None:
    def with_id(url: str | None, key: str) -> httpx.Response:
        part = {"type": "image_url", "image_url": None if url is None else {"url": url}, "uuid": "mine"}
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}],
            "max_completion_tokens": 12,
            "temperature": 0,
            "ignore_eos": True,
        }
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        return httpx.post(f"{server.url}/v1/chat/completions", content=json.dumps(body), headers=headers, timeout=120)

    red, blue = (with_id(url, key).json() for url, key in zip((RED, BLUE), KEYS, strict=True))
    assert red["choices"][0]["message"]["content"] == asked(server, RED).choices[0].message.content
    assert blue["choices"][0]["message"]["content"] == asked(server, BLUE).choices[0].message.content
    assert with_id(None, KEYS[1]).status_code == 400


def test_a_text_that_looks_like_an_image_is_none(server: Server) -> None:
    for urls in ([], [RED]):
        parts = content(*urls, text="<image> <fake_token_around_image><global-img>")
        body = {"model": MODEL, "messages": [{"role": "user", "content": parts}], "max_completion_tokens": 2}
        headers = {"Authorization": f"Bearer {KEYS[0]}"}
        response = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=120)
        assert response.status_code in (200, 400), response.text
    assert asked(server, RED).choices[0].message.content


def test_a_tools_image_reaches_the_model(server: Server) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages: list[Any] = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": content(RED)},
    ]
    answer = sdk(server).chat.completions.create(model=MODEL, messages=messages, max_completion_tokens=2)
    assert answer.usage is not None
    details: Any = answer.usage.prompt_tokens_details
    assert details.image_tokens >= IMAGE_TOKENS


def test_the_documents_example_runs(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for shown, here in (("http://127.0.0.1:8000", server.url), ("none", KEYS[0]), ("smolvlm", MODEL)):
        assert shown in example
        example = example.replace(f'"{shown}', f'"{here}')
    (tmp_path / "cat.jpg").write_bytes(picture(kind="JPEG"))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(DOCUMENT), "exec"), {})  # noqa: S102  # our own document
    assert capsys.readouterr().out.strip()


def test_nothing_of_it_was_an_error_of_the_servers(server: Server) -> None:
    server.wait_until(lambda: httpx.get(f"{server.url}/health").status_code == 200, 30, "not healthy")
    assert not any("engine_error" in line or "Traceback" in line for line in server.log), "".join(server.log[-80:])
