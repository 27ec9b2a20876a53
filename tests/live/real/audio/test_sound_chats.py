"""Sound in chats through vLLM, on a tiny model that the test makes: what it costs, and what goes wrong."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.live.servers.models.sound_model import TOKENS_PER_S, make_sound_model
from tests.live.servers.server import Server, start_server, stop_server
from tests.recordings import recording

DOCUMENT = Path(__file__).parents[4] / "docs" / "guides" / "audio.md"
MODEL = "tiny-ears"
LOW, NOISE = recording(2.0, 44100, kind="MP3", channels=2), b"no sound at all"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    model = make_sound_model(tmp_path_factory.mktemp("model") / MODEL)
    server = start_server(
        *("--model", str(model), "--dtype", "float32", "--max-model-len", "2048", "--max-num-seqs", "8"),
        *("--limit-mm-per-prompt", '{"audio":2}', "--mm-processor-cache-gb", "0.1"),
    )
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


def sound(file: bytes) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(file).decode(), "format": "mp3"}}


def content(*files: bytes) -> list[Any]:
    return [{"type": "text", "text": "What is it?"}, *map(sound, files)]


def asked(server: Server, *files: bytes) -> Any:
    return server.sdk().chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": content(*files)}],
        max_completion_tokens=12,
        temperature=0,
        extra_body={"ignore_eos": True},
    )


def test_sound_is_heard_and_counted(server: Server) -> None:
    (model,) = server.sdk().models.list().data
    assert model.input_modalities == ["text", "audio"]  # type: ignore[attr-defined]  # ours
    none, low, again, high = (asked(server, *files) for files in ([], [LOW], [LOW], [recording(3.0, 8000)]))
    details = low.usage.prompt_tokens_details
    assert details.audio_tokens == pytest.approx(2 * TOKENS_PER_S, abs=3)
    assert low.usage.prompt_tokens - none.usage.prompt_tokens >= details.audio_tokens
    assert none.usage.prompt_tokens_details.audio_tokens is None
    texts = [answer.choices[0].message.content for answer in (none, low, again, high)]
    assert texts[1] == texts[2]
    assert len(set(texts)) == 3, "what is heard changes what is said"


def test_responses_and_vllms_parts_mean_the_same(server: Server) -> None:
    expected = asked(server, LOW).choices[0].message.content
    url = {"url": "data:audio/mpeg;base64," + base64.b64encode(LOW).decode()}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "audio_url", "audio_url": url}]
    body = {"model": MODEL, "temperature": 0, "ignore_eos": True, "input": [{"role": "user", "content": content(LOW)}]}
    chat = body | {"messages": [{"role": "user", "content": parts}], "max_completion_tokens": 12}
    chat.pop("input")
    with httpx.Client(base_url=server.url, timeout=120) as client:
        assert client.post("/v1/chat/completions", json=chat).json()["choices"][0]["message"]["content"] == expected
        response = client.post("/v1/responses", json=body | {"max_output_tokens": 12}).json()
    assert response["output"][0]["content"][0]["text"] == expected
    assert response["usage"]["input_tokens_details"]["audio_tokens"] > 0


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([NOISE], "cannot be decoded"),
        ([recording(0.05)], "at least 0.1 s"),
        ([recording(31.0, 8000)], "hears only 30 s"),
        ([LOW, LOW, LOW], "at most 2 sounds"),
    ],
)
def test_what_goes_wrong_names_the_part(server: Server, files: list[bytes], reason: str) -> None:
    with pytest.raises(openai.BadRequestError, match=reason) as caught:
        asked(server, *files)
    assert caught.value.param == f"messages[0].content[{len(files)}]"
    assert asked(server, LOW).choices[0].message.content
    assert not any("Traceback" in line for line in server.log), "".join(server.log[-80:])


def test_the_documents_example_runs(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chats = DOCUMENT.read_text("utf-8").partition("## Sound in chats")[2]
    (example,) = re.findall(r"^```python\n(.*?)^```$", chats, re.MULTILINE | re.DOTALL)
    for shown, here in (("http://127.0.0.1:8000", server.url), ("qwen2-audio", MODEL)):
        assert shown in example
        example = example.replace(f'"{shown}', f'"{here}')
    # Such a model rarely ends by itself, and may begin with its end.
    example = example.replace("messages=[", 'max_tokens=8, extra_body={"ignore_eos": True}, messages=[')
    (tmp_path / "birds.mp3").write_bytes(LOW)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(DOCUMENT), "exec"), {})  # noqa: S102  # our own document
    assert capsys.readouterr().out.strip()
