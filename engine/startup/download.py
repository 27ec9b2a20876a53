"""Tells how much of a model has been downloaded, by looking at the cache of the Hugging Face hub.

vLLM 0.32 downloads the weights in a process of the engine, without telling of it. Imports neither vLLM nor torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import structlog

from engine.api import Progress, StageReport
from engine.config import EngineConfig
from engine.processes.threads import in_daemon_thread
from engine.startup.preflight import LOADED_FROM_FILES

log = structlog.get_logger(__name__)

STAGE = "downloading the model"
POLL_S = 0.5
HUB_TIMEOUT_S = 10.0
INDEX = "model.safetensors.index.json"
MISTRAL = "consolidated*.safetensors"
SAFETENSORS = "*.safetensors"
PATTERNS = (SAFETENSORS, "*.bin", "*.pt")
"""vLLM loads the files of the first pattern that any match; with the load format `auto`, `MISTRAL` comes first."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file on the hub; `etag` is its name in the cache."""

    name: str
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Download:
    """What has to be downloaded: `files`, into the folder `blobs`."""

    blobs: Path
    files: tuple[HubFile, ...]

    def progress(self) -> Progress:
        """How much is there. Looks at the disk."""
        there: dict[str, tuple[bool, float, int]] = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.blobs) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # It is complete now, and has another name.
                    # `ETAG`, or while it grows `ETAG.8-RANDOM-DIGITS.incomplete` (huggingface_hub 2.4). Downloads
                    # that were broken off leave such files, too: the newest counts.
                    etag, _, ending = entry.name.partition(".")
                    found = entry.stat()
                    state = (not ending, found.st_mtime, found.st_size)
                    there[etag] = max(state, there.get(etag, state))
        done = sum(min(there[file.etag][2], file.size) for file in self.files if file.etag in there)
        return Progress(done, sum(file.size for file in self.files), "bytes")


@contextlib.asynccontextmanager
async def reported_download(config: EngineConfig, report: StageReport) -> AsyncIterator[None]:
    """While the block runs, report how much of the model of `config` has been downloaded, if it has to be."""
    watching = asyncio.create_task(_watch(config, report))
    try:
        yield
    finally:
        watching.cancel()


async def _watch(config: EngineConfig, report: StageReport) -> None:
    download = await in_daemon_thread(lambda: find_download(config))
    if download is None:
        return
    most = -1
    while (progress := await in_daemon_thread(download.progress)).done < progress.total:
        # Only growth: if vLLM needs less than was worked out here, its later stages must not be called a download.
        is_first = most < 0
        if progress.done == 0 if is_first else progress.done > most:
            report(STAGE, progress)
        most = max(most, progress.done)
        await asyncio.sleep(POLL_S)
    if most >= 0:
        report("loading the model")


def find_download(config: EngineConfig) -> Download | None:
    """What vLLM downloads for `config`: None if that is nothing, or the hub does not say. Asks the hub."""
    load_format = config.extra.get("load_format", "auto")
    if "://" in config.model or Path(config.model).expanduser().exists() or load_format not in LOADED_FROM_FILES:
        return None
    if os.environ.get("VLLM_USE_MODELSCOPE"):
        return None
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.file_download import repo_folder_name

        if constants.HF_HUB_OFFLINE:
            return None
        revision = _text(config.extra.get("revision"))
        info = HfApi().model_info(config.model, revision=revision, files_metadata=True, timeout=HUB_TIMEOUT_S)
        cache = _text(config.extra.get("download_dir")) or constants.HF_HUB_CACHE
        folder = Path(cache) / repo_folder_name(repo_id=config.model, repo_type="model")
        patterns = (MISTRAL, *PATTERNS) if load_format == "auto" else PATTERNS
        siblings = [_file(sibling) for sibling in info.siblings or ()]
        files = loaded_files(siblings, patterns, lambda: _read_index(config.model, revision))
    except Exception as error:
        # Whatever it is: the engine's own download meets it too, and says so.
        log.debug("download_size_unknown", reason=f"{type(error).__name__}: {error}")
        return None
    return Download(folder / "blobs", files) if files else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _file(sibling: Any) -> HubFile:
    etag = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
    return HubFile(sibling.rfilename, sibling.size or 0, etag or "")


def _read_index(model: str, revision: str | None) -> Collection[str]:
    """The names of the files in which the index of `model` places its weights. Asks the hub."""
    from huggingface_hub import get_session, get_token, hf_hub_url

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = hf_hub_url(model, INDEX, revision=revision)
    answer = get_session().get(url, headers=headers, timeout=HUB_TIMEOUT_S, follow_redirects=True)
    answer.raise_for_status()
    return frozenset(json.loads(answer.content)["weight_map"].values())


def loaded_files(
    files: Iterable[HubFile], patterns: Iterable[str], read_index: Callable[[], Collection[str]]
) -> tuple[HubFile, ...]:
    """The weights among `files`: those of the first of the `patterns` that any match.

    Of safetensors with an index, only the files that the index names, as `read_index` returns them.
    """
    weights = [file for file in files if file.size and file.etag]
    has_index = any(file.name == INDEX for file in weights)
    for pattern in patterns:
        found = tuple(file for file in weights if fnmatch(file.name, pattern))
        if found and has_index and pattern == SAFETENSORS:
            named = read_index()
            return tuple(file for file in weights if file.name in named) or found
        if found:
            return found
    return ()
