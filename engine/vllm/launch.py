"""Starts the text engine: reads its configuration, and launches vLLM's processes or joins another API server's.

Import this package lazily: importing vLLM takes ten seconds.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Coroutine
from dataclasses import fields
from typing import Any

import structlog
from jinja2 import TemplateError, TemplateSyntaxError
from transformers.utils.chat_template_utils import _compile_jinja_template
from vllm import envs
from vllm.config import StructuredOutputsConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform
from vllm.renderers.chat_utils import load_chat_template
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.utils.network_utils import get_open_zmq_ipc_path
from vllm.utils.system_utils import get_mp_context
from vllm.v1.engine import coordinator, core_client
from vllm.v1.engine import utils as engine_utils
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.utils import EngineZmqAddresses, launch_core_engines
from vllm.v1.executor import Executor

from engine.api import EngineStartError, FollowerLostError, StageReport
from engine.config import EngineConfig
from engine.processes.children import EngineProcesses
from engine.processes.fork_server import FORKED, is_fork_server_started, wait_for_fork_server
from engine.processes.threads import in_daemon_thread
from engine.ranks.waiting import LOADING, LOST, unless_missing
from engine.sharing.follower import Follower
from engine.sharing.meeting import Addresses, Place
from engine.startup.download import reported_download
from engine.startup.failure import explain
from engine.startup.preflight import check_memory
from engine.startup.probe import check_template, check_tokenizer
from engine.vllm.adapters import lora_arguments
from engine.vllm.engine import VllmEngine
from engine.vllm.formats.find_format import find_format
from engine.vllm.formats.output_format import OutputFormat
from engine.vllm.multi_client import FollowerEngine, LeaderEngine
from engine.vllm.outputs.errors import first_line
from engine.vllm.outputs.fast_path import freeze_heap
from engine.vllm.plugins import load_parsers
from engine.vllm.ranks.handshake import Handshake
from engine.vllm.started import Started

log = structlog.get_logger(__name__)

GREETING_TIMEOUT_S = 60
"""How long a client waits for the greeting of a loaded engine. vLLM would wait for ten minutes, even for an engine that
has died."""

MISPLACED = ("HELLO message from", "Message from engine with unexpected data parallel rank")
"""How vLLM 0.32 begins its errors about a rank that reports from the wrong machine, or that there should not be."""


async def start_vllm(
    config: EngineConfig, report: StageReport, place: Place | None = None, *, writes_progress: bool = False
) -> VllmEngine:
    """Start an engine, or join the one of another API server: `place` is this one's among them.

    `writes_progress`: its processes write what they have loaded to their output, for `engine.startup.progress`.
    Does not block the event loop. Raises `EngineStartError` for a wrong configuration.
    """
    report("reading the model's configuration")
    envs.disable_envs_cache()  # Another engine may have run before.
    args = engine_arguments(config, writes_progress=writes_progress)
    if current_platform.is_cpu() and (place is None or place.is_leader):
        # A follower would find the memory taken by the engine that it is to join.
        check_memory(config.cpu_kv_cache_gib * config.ranks.local)
    if place is not None and not current_platform.is_cpu():
        # On a CPU, vLLM takes this for the number of engines that share the cores.
        args._api_process_count, args._api_process_rank = place.count, place.index
    template = _chat_template(config.chat_template)
    engine = await _started(args, config, template, report, place)
    try:
        report("warming up")
        await engine.warm_up()
        freeze_heap()
        # Otherwise vLLM reads an environment variable for each token, to see whether to look for NaNs: 2 µs.
        envs.enable_envs_cache()
    except BaseException:
        await engine.close()
        raise
    return engine


async def _started(
    args: AsyncEngineArgs, config: EngineConfig, template: str | None, report: StageReport, place: Place | None
) -> VllmEngine:
    processes, preparation = EngineProcesses(), _Preparation(args, config, template)

    def started(llm: AsyncLLM) -> Started:
        return Started(llm, config, template, preparation.format, processes)

    await use_fork_server()
    if place is None:
        report(LOADING)
        launching = processes.start(preparation.run, AsyncLLM.from_vllm_config)
        if config.ranks.remote:
            launching = _with_followers(launching, config, report)
        async with reported_download(config, report):
            return VllmEngine(started(await launching))
    if place.is_leader:
        report(LOADING)
        addresses = [_open_addresses() for _ in range(place.count)]
        async with reported_download(config, report):
            llm = await processes.start(preparation.run, functools.partial(_launched_for_all, addresses))
        return LeaderEngine(started(llm), place, addresses)
    report("waiting for the first API server's engine")
    follower = await Follower.join(place)
    try:
        llm = await follower.while_there(
            in_daemon_thread(lambda: _joined(preparation.run(), place.count, place.index, follower.addresses))
        )
    except BaseException:
        await follower.leave()
        raise
    return FollowerEngine(started(llm), follower)


async def _with_followers(
    launching: Coroutine[Any, Any, AsyncLLM], config: EngineConfig, report: StageReport
) -> AsyncLLM:
    handshake = Handshake()
    with handshake.watched():
        try:
            return await unless_missing(launching, handshake, report, config.ranks.follower_timeout_s)
        except RuntimeError as error:
            reason = str(error)
            if reason.startswith("Unexpected HELLO"):  # From a rank that was started anew.
                raise FollowerLostError(LOST) from error
            if reason.startswith(MISPLACED):
                raise EngineStartError(
                    "a `twowire engine` runs a rank that is not its own; check its --data-parallel-start-rank: "
                    f"{reason}"
                ) from error
            raise


async def use_fork_server() -> None:
    """Make vLLM start the engine cores, and what coordinates several, from the fork server, if there is one."""
    context = get_mp_context
    if is_fork_server_started():
        if await in_daemon_thread(wait_for_fork_server):
            context = lambda: FORKED  # noqa: E731
        else:
            log.warning("fork_server_failed", effect="engines start slower")
    engine_utils.get_mp_context = coordinator.get_mp_context = context


def _open_addresses() -> dict[str, str]:
    return {"input_address": get_open_zmq_ipc_path(), "output_address": get_open_zmq_ipc_path()}


def _launched_for_all(addresses: list[dict[str, str]], config: VllmConfig) -> AsyncLLM:
    """Launch an engine with several clients, and its first client, as vLLM does for its own servers."""
    at = EngineZmqAddresses(
        inputs=[one["input_address"] for one in addresses], outputs=[one["output_address"] for one in addresses]
    )
    with launch_core_engines(config, Executor.get_class(config), log_stats=True, addresses=at) as launched:
        pass  # Leaving the block waits until the engine has loaded the model.
    if launched.coordinator is not None:
        # Each client balances over the ranks by what it publishes.
        for one in addresses:
            one["stats_update_address"] = launched.coordinator.get_stats_publish_address()
    llm = _joined(config, len(addresses), 0, addresses[0])
    # As if the client had launched it: it notices the engine's death and closes it.
    core: Any = llm.engine_core
    core.resources.engine_manager, core.resources.coordinator = launched.engine_manager, launched.coordinator
    core.start_engine_core_monitor()
    return llm


def _joined(config: VllmConfig, count: int, index: int, addresses: Addresses) -> AsyncLLM:
    core_client.VLLM_ENGINE_READY_TIMEOUT_S = GREETING_TIMEOUT_S
    return AsyncLLM.from_vllm_config(config, client_addresses=dict(addresses), client_count=count, client_index=index)


def engine_arguments(config: EngineConfig, *, writes_progress: bool = False) -> AsyncEngineArgs:
    """What vLLM is started with. Raises `EngineStartError`."""
    ours, vllms = {field.name for field in fields(config)}, {field.name for field in fields(AsyncEngineArgs)}
    known = {name: value for name in ours & vllms if (value := getattr(config, name)) is not None}
    known |= config.ranks.arguments
    if config.ranks.distributed_executor_backend == "ray" and current_platform.is_cpu():
        raise EngineStartError("--distributed-executor-backend: vLLM's ray needs GPUs; on a CPU, use mp")
    known |= lora_arguments(config.adapters, is_cpu=current_platform.is_cpu())
    # vLLM labels its metrics with it; its own default is the folder's path.
    known["served_model_name"] = list(config.names)
    # Where nobody reads a progress bar, it is as verbose as vLLM's log at level INFO.
    known["use_tqdm_on_load"] = writes_progress or logging.getLogger("vllm").isEnabledFor(logging.INFO)
    if current_platform.is_cpu():
        # By default vLLM takes most of the machine's memory; and compiling a graph takes minutes that it never saves.
        known["kv_cache_memory_bytes"] = config.cpu_kv_cache_gib << 30
        if known.setdefault("enforce_eager", True):
            # Even so, vLLM 0.32 compiles a helper at the first request for logprobs, which stalls all streams for 19 s.
            # The engine's processes inherit this variable; they need no compiler at all.
            os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    try:
        extra = dict(config.extra)
        if "reasoning_parser" in extra:
            # The engine core would then constrain no answer before its thoughts end: also of chats that never think.
            raise ValueError("reasoning_parser: set --reasoning-parser instead")
        extra["structured_outputs_config"] = structured_outputs_config(extra.get("structured_outputs_config"))
        return AsyncEngineArgs(**(known | extra))
    except (TypeError, ValueError) as error:
        raise EngineStartError(f"--engine-args: {first_line(error)}") from error


def structured_outputs_config(given: object) -> StructuredOutputsConfig:
    """vLLM's configuration for JSON schemas: llguidance, without free white space. `given` sets the rest.

    By default, vLLM 0.32 uses the grammar backend that suits the first request for all of them. xgrammar, its usual
    choice, ignores allOf, bounds beside $ref or anyOf, and maxLength beside pattern. With free white space, a model
    that finds the required text unlikely writes blanks up to its token limit.
    """
    fixed = {"backend": "guidance", "disable_any_whitespace": True, "disable_additional_properties": False}
    if given is not None and not isinstance(given, dict):
        raise ValueError("structured_outputs_config must be an object")
    for name, value in fixed.items():
        if given and given.get(name, value) != value:
            raise ValueError(f"structured_outputs_config.{name} must be {value!r}: schemas are checked for that")
    return StructuredOutputsConfig(**((given or {}) | fixed))


def _chat_template(setting: str | None) -> str | None:
    try:
        template: str | None = load_chat_template(setting)
        if template is not None:
            # The renderer does this at the first chat, which would be too late for an error.
            _compile_jinja_template(template)
    except (OSError, ValueError, TemplateError) as error:
        # A template given as text, not as a file, is not repeated.
        named = f"{setting!r}: " if setting is not None and "{" not in setting else ""
        line = f"line {error.lineno}: " if isinstance(error, TemplateSyntaxError) else ""
        raise EngineStartError(f"--chat-template: {named}{line}{first_line(error)}") from error
    return template


class _Preparation:
    """What is read and checked before any process starts."""

    format: OutputFormat
    """Known once it has run."""

    def __init__(self, args: AsyncEngineArgs, config: EngineConfig, template: str | None) -> None:
        self._args = args
        self._config = config
        self._template = template

    def run(self) -> VllmConfig:
        """vLLM's configuration. Raises `EngineStartError`. It takes seconds, so call it in a thread."""
        config = self._config
        try:
            made = self._args.create_engine_config()
            if made.model_config.is_encoder_decoder:
                # vLLM 0.32 cannot, and its engine core dies of the first request if it was asked to.
                made.cache_config.enable_prefix_caching = False
            # Cached: the engine uses the same one.
            tokenizer = cached_tokenizer_from_config(made.model_config)
        except (ValueError, OSError, RuntimeError) as error:
            raise EngineStartError(explain(error, config).sentence) from error
        if tokenizer is None:
            raise EngineStartError("--engine-args: skip_tokenizer_init: the server needs the tokenizer")
        check_tokenizer(tokenizer, made.model_config.get_vocab_size(), config)
        template = self._template
        if template is None:
            template = getattr(tokenizer, "chat_template", None)
            check_template(template, config)
        load_parsers(config.tool_parser_plugin, "--tool-parser-plugin")
        load_parsers(config.thought_parser_plugin, "--reasoning-parser-plugin")
        self.format = find_format(template, tokenizer, config.tool_call_parser, config.thought_parser, config.model)
        return made
