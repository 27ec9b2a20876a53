"""A model's files are checked before anything is loaded; each error names the option, the file and the cause."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from engine.api import EngineStartError
from engine.config import GUIDE, EngineConfig
from engine.registry import bundled_embedding_model, check_text_model
from engine.startup.preflight import check_memory, check_model, check_sentence_model


def safetensors(path: Path, tensor_bytes: int = 64) -> None:
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [tensor_bytes // 4], "data_offsets": [0, tensor_bytes]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(tensor_bytes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole model, as far as that can be seen without loading it."""
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}', "utf-8")
    (folder / "tokenizer.json").write_text('{"model": {}}', "utf-8")
    safetensors(folder / "model.safetensors")
    return folder


def error_of(folder: Path, flag: str = "--model") -> str:
    with pytest.raises(EngineStartError) as failed:
        check_model(str(folder), flag)
    message = str(failed.value)
    assert message.startswith(f"{flag}: "), message
    assert "\n" not in message
    return message


def test_a_whole_model_passes(folder: Path) -> None:
    check_model(str(folder))
    check_model(str(GUIDE))
    bundled = bundled_embedding_model()
    assert bundled is not None
    check_sentence_model(str(bundled), "--embedding-model")


def test_it_loads_no_heavy_library() -> None:
    script = (
        "import sys; from engine.startup.preflight import check_model;"
        f"check_model({str(GUIDE)!r}); print(*{{'torch', 'vllm', 'transformers'}} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


Break = Callable[[Path], object]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("breaking", "said"),
    [
        pytest.param(lambda at: (at / "config.json").unlink(), "holds no config.json", id="no config"),
        pytest.param(lambda at: (at / "config.json").write_text("{"), "config.json' is not JSON", id="broken config"),
        pytest.param(lambda at: (at / "config.json").write_text("[]"), "must be a JSON object", id="config of a list"),
        pytest.param(
            lambda at: (at / "config.json").write_text("{}"), "names neither architectures", id="empty config"
        ),
        pytest.param(lambda at: (at / "tokenizer.json").unlink(), "holds no tokenizer", id="no tokenizer"),
        pytest.param(lambda at: cut(at / "tokenizer.json", 5), "tokenizer.json' is not JSON", id="broken tokenizer"),
        pytest.param(lambda at: (at / "model.safetensors").unlink(), "holds no weights", id="no weights"),
        pytest.param(
            lambda at: cut(at / "model.safetensors", 100), "is incomplete: it has 100 bytes", id="cut weights"
        ),
        pytest.param(lambda at: cut(at / "model.safetensors", 30), "is incomplete: it has 30 bytes", id="cut header"),
        pytest.param(lambda at: cut(at / "model.safetensors", 0), "is incomplete: it has 0 bytes", id="empty weights"),
        pytest.param(
            lambda at: (at / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n"),
            "is a pointer of Git LFS",
            id="a pointer",
        ),
        pytest.param(
            lambda at: (at / "model.safetensors").write_bytes(b"\xff" * 200), "is not a safetensors file", id="noise"
        ),
    ],
)
def test_what_is_missing_or_broken_is_named(folder: Path, breaking: Break, said: str) -> None:
    breaking(folder)
    message = error_of(folder)
    assert said in message
    assert str(folder) in message


def test_every_file_that_an_index_names_is_looked_for(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-1-of-2.safetensors")
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert "holds no model-2-of-2.safetensors" in error_of(folder)
    safetensors(folder / "model-2-of-2.safetensors")
    check_model(str(folder))
    cut(folder / "model-2-of-2.safetensors", 110)
    assert "model-2-of-2.safetensors' is incomplete" in error_of(folder)


def test_an_archive_of_torch_without_its_end_is_not_whole(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    weights = folder / "pytorch_model.bin"
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("data.pkl", bytes(500))
    check_model(str(folder))
    cut(weights, 300)
    (folder / "optimizer.pt").write_bytes(b"PK")
    assert "pytorch_model.bin' is incomplete" in error_of(folder)


def test_what_engine_args_replace_is_not_looked_for(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    check_text_model(EngineConfig(str(folder), extra={"load_format": "dummy"}))
    (folder / "tokenizer.json").unlink()
    check_text_model(EngineConfig(str(folder), extra={"load_format": "dummy", "tokenizer": str(GUIDE)}))
    with pytest.raises(EngineStartError, match="holds no tokenizer"):
        check_text_model(EngineConfig(str(folder), extra={"load_format": "dummy"}))


def test_a_name_on_a_hub_that_is_switched_off_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EngineStartError) as failed:
        check_model("some-org/some-model")
    for part in ("--model", "'some-org/some-model'", "HF_HUB_OFFLINE", str(tmp_path)):
        assert part in str(failed.value)
    with pytest.raises(EngineStartError, match="not a name on the Hugging Face hub"):
        check_model("some org/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    check_model("some-org/some-model")


def test_a_cache_larger_than_the_free_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=3 << 30))
    check_memory(3)
    with pytest.raises(EngineStartError, match=r"^--cpu-kv-cache-gib: the KV cache needs 4 GiB, but only 3\.0 GiB"):
        check_memory(4)


def test_the_parts_of_an_embedding_model_are_checked(folder: Path, tmp_path: Path) -> None:
    whole = tmp_path / "encoder"
    shutil.copytree(folder, whole / "0_Transformer")
    modules = [{"idx": 0, "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    (whole / "modules.json").write_text(json.dumps(modules), "utf-8")
    check_sentence_model(str(whole), "--embedding-model")
    cut(whole / "0_Transformer" / "model.safetensors", 100)
    with pytest.raises(EngineStartError, match=r"^--reranker: .*0_Transformer/model.safetensors' is incomplete"):
        check_sentence_model(str(whole), "--reranker")
    with pytest.raises(EngineStartError, match="there is no folder"):
        check_sentence_model("./nowhere", "--embedding-model")
