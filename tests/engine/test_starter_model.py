"""The starter model's files: the same each time, whole or absent, and a tokenizer that loses nothing.

Knows nothing of vLLM: that the model runs is shown in `tests/live`.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors import safe_open
from tokenizers import Tokenizer

from engine import starter_model
from engine.starter_model import (
    CHAT_TEMPLATE,
    SPECIAL_TOKENS,
    VOCABULARY,
    ensure_starter_model,
    starter_model_path,
)

FILES = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_starter_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(model / "tokenizer.json"))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_is_the_same_each_time(model: Path, tmp_path: Path) -> None:
    again = ensure_starter_model(tmp_path / "again")
    assert hashes(again) == hashes(model)
    assert set(hashes(model)) == FILES


def test_a_model_that_exists_is_left_alone(tmp_path: Path) -> None:
    folder = ensure_starter_model(tmp_path / "model")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert ensure_starter_model(folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_processes_that_race_leave_one_whole_model(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raced"
    command = [sys.executable, "-m", "engine.starter_model", str(folder)]
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0].strip() for process in racing]
    assert [process.returncode for process in racing] == [0, 0, 0]
    assert answers == [str(folder)] * 3
    assert hashes(folder) == hashes(model)
    assert list(tmp_path.iterdir()) == [folder], "something unfinished was left behind"


def test_a_lost_race_keeps_the_winner_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    write = starter_model._write_model

    def write_while_another_finishes(unfinished: Path) -> None:
        write(unfinished)
        folder.mkdir()
        (folder / "config.json").write_text("the winner's")

    monkeypatch.setattr(starter_model, "_write_model", write_while_another_finishes)
    assert ensure_starter_model(folder) == folder
    assert (folder / "config.json").read_text() == "the winner's"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(unfinished: Path) -> None:
        (unfinished / "config.json").touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(starter_model, "_write_model", fail)
    with pytest.raises(OSError, match="no space"):
        ensure_starter_model(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear reader")
    with pytest.raises(FileExistsError, match="something else"):
        ensure_starter_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("configured", ["", "relative/folder", None])
def test_the_default_folder_is_in_the_home_cache(
    configured: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if configured is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert starter_model_path().parent == tmp_path / ".cache" / "twowire"


def test_the_default_folder_follows_the_configured_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = ensure_starter_model()
    assert folder == starter_model_path()
    assert folder.parent == tmp_path / "twowire"
    assert folder.name.startswith("starter-model-")


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world!\n",
        "안녕하세요, 반갑습니다.",
        "👩‍👩‍👧‍👦 🇰🇷 😀 e\u0301",
        " leading and trailing ",
        "\x00\x7f\ufeff\ufffd",
        "",
    ],
)
def test_text_survives_the_tokenizer_as_one_token_per_byte(text: str, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert ids == list(text.encode())
    assert tokenizer.decode(ids) == text


def test_special_tokens_follow_the_bytes(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() == VOCABULARY
    assert tokenizer.encode("".join(SPECIAL_TOKENS), add_special_tokens=False).ids == [*range(256, VOCABULARY)]
    assert tokenizer.decode([65, 257], skip_special_tokens=True) == "A"


def test_a_raw_prompt_begins_with_the_begin_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("A").ids == [256, 65]
    assert tokenizer.encode("").ids == [256]


def test_the_weights_fit_the_configuration(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    with safe_open(model / "model.safetensors", framework="numpy") as weights:
        shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118 - not a dict
        kinds = {weights.get_slice(name).get_dtype() for name in shapes}
    assert kinds == {"BF16"}
    assert shapes["lm_head.weight"] == shapes["model.embed_tokens.weight"] == [VOCABULARY, 128]
    assert config["vocab_size"] == VOCABULARY
    assert shapes["model.layers.3.self_attn.k_proj.weight"] == [64, 128]
    assert shapes["model.layers.3.mlp.down_proj.weight"] == [128, 384]
    assert len(shapes) == 3 + 9 * config["num_hidden_layers"]


def render(messages: list[dict[str, object]], *, add_generation_prompt: bool = True) -> str:
    """The chat template as transformers renders it."""

    def raise_exception(reason: str) -> None:
        raise TemplateError(reason)

    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    return template.render(
        messages=messages,
        add_generation_prompt=add_generation_prompt,
        bos_token="<|begin|>",
        raise_exception=raise_exception,
    )


def test_the_chat_template_knows_every_role() -> None:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "Be brief. "},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": " Hi\n"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42"},
    ]
    assert render(messages) == (
        "<|begin|><|system|>Be brief. <|end|><|system|>Be kind.<|end|><|user|> Hi\n<|end|>"
        '<|assistant|>[{"id": "1"}]<|end|><|tool|>42<|end|><|assistant|>'
    )
    assert render(messages[2:3], add_generation_prompt=False) == "<|begin|><|user|> Hi\n<|end|>"


def test_the_chat_template_refuses_an_unknown_role() -> None:
    with pytest.raises(TemplateError, match="There is no role narrator"):
        render([{"role": "narrator", "content": "Once"}])
