"""The ranks of a follower: engine cores, or the workers of one, without a client; as `vllm serve --headless`."""

from __future__ import annotations

from multiprocessing import connection
from typing import Any

from vllm.config import VllmConfig
from vllm.platforms import current_platform
from vllm.utils.network_utils import get_tcp_uri
from vllm.v1.engine.utils import CoreEngineProcManager
from vllm.v1.executor import Executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor

from engine.api import EngineStartError
from engine.config import EngineConfig
from engine.processes.children import EngineProcesses
from engine.processes.threads import in_daemon_thread
from engine.startup.failure import explain
from engine.startup.preflight import check_memory
from engine.vllm.launch import engine_arguments, use_fork_server


class HeadlessRanks:
    """Ranks that run, or are about to report to the leader."""

    def __init__(self, processes: EngineProcesses, launched: tuple[Any, list[Any]]) -> None:
        self._processes = processes
        # The owner ends them when it is collected.
        self._owner, self._started = launched

    async def wait_dead(self) -> str:
        """Wait until one has ended; returns which."""
        sentinels = {process.sentinel: process for process in self._started}
        ended = await in_daemon_thread(lambda: connection.wait(list(sentinels)))
        process = sentinels[ended[0]]
        process.join(timeout=1)
        return f"{process.name} ended unexpectedly (exit code {process.exitcode})"

    def close(self) -> None:
        """End all of them at once. The leader's engine ends with them."""
        self._processes.kill()


async def start_headless(config: EngineConfig) -> HeadlessRanks:
    """Start this machine's ranks. Does not block the event loop. Raises `EngineStartError`."""
    args = engine_arguments(config)
    if current_platform.is_cpu():
        check_memory(config.cpu_kv_cache_gib * (config.ranks.data_parallel_size_local or 1))
    await use_fork_server()

    def prepare() -> VllmConfig:
        try:
            return args.create_engine_config(headless=True)
        except (ValueError, OSError, RuntimeError) as error:
            raise EngineStartError(explain(error, config).sentence) from error

    processes = EngineProcesses()
    return HeadlessRanks(processes, await processes.start(prepare, launch_headless))


def launch_headless(config: VllmConfig) -> tuple[Any, list[Any]]:
    """Start the processes of this machine's ranks; returns what owns them, and them.

    Those of copies of the model report to the leader by themselves. The parts of one copy meet the leader's in here.
    """
    parallel = config.parallel_config
    if parallel.node_rank_within_dp > 0:
        executor = MultiprocExecutor(config, monitor_workers=False)
        return executor, [worker.proc for worker in executor.workers]
    manager = CoreEngineProcManager(
        local_engine_count=parallel.data_parallel_size_local,
        start_index=parallel.data_parallel_rank,
        local_start_index=0,
        vllm_config=config,
        local_client=False,
        handshake_address=get_tcp_uri(parallel.data_parallel_master_ip, parallel.data_parallel_rpc_port),
        executor_class=Executor.get_class(config),
        log_stats=True,
    )
    return manager, list(manager.processes)
