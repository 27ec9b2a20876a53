"""What the options of ranks and machines must be beside one another."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from app.config.values import FieldError
from engine.ranks.config import RankOptions

REFUSED_ARGUMENTS = {
    "data_parallel_rank": "each rank would need a server of its own; run several servers behind a balancer",
    "data_parallel_external_lb": "each rank would need a server of its own; run several servers behind a balancer",
    "data_parallel_hybrid_lb": "each machine would need a server of its own; run several servers behind a balancer",
    "data_parallel_multi_port_external_lb": "each rank would need a port; run several servers behind a balancer",
    "data_parallel_backend": "copies are processes here; --distributed-executor-backend is for the parts of one",
}
"""Arguments of vLLM's that --engine-args may not set, and why."""


def check_ranks(
    ranks: RankOptions,
    *,
    tensor_parallel_size: int,
    arguments: Mapping[str, Any],
    api_server_count: int,
    given: Collection[str],
    has_adapters: bool,
    is_follower: bool,
) -> RankOptions:
    """`ranks`, with a follower's count of local ranks filled in. Raises `FieldError`."""
    for name, why in REFUSED_ARGUMENTS.items():
        if name in arguments:
            raise FieldError("engine_args", f"{name}: {why}")
    if ranks.data_parallel_size == 1:
        for name in ("data_parallel_size_local", "data_parallel_start_rank", "data_parallel_address"):
            if name in given:
                raise FieldError(name, "needs --data-parallel-size with more than one copy of the model")
    _check_machines(ranks, tensor_parallel_size, given)
    if is_follower:
        return _follower(ranks)
    _check_leader(ranks)
    if has_adapters and ranks.has_followers:
        raise FieldError("enable_lora", "adapters are files of this machine, and followers are on others")
    if api_server_count > 1 and ranks.has_followers:
        raise FieldError(
            "api_server_count", "more than one is for ranks on this machine; followers watch one server's engine"
        )
    # A file may be a follower's as well. vLLM would take it for another way to balance.
    return replace(ranks, data_parallel_start_rank=None)


def _check_machines(ranks: RankOptions, tensor_parallel_size: int, given: Collection[str]) -> None:
    """The options with which one copy of the model may be spread over machines."""
    machines = ranks.nnodes
    if ranks.node_rank >= machines:
        raise FieldError("node_rank", f"must be less than --nnodes, {machines}, got {ranks.node_rank}")
    if machines == 1:
        return
    if ranks.distributed_executor_backend == "ray":
        raise FieldError("nnodes", "cannot be combined with ray, which itself chooses the machines")
    if ranks.master_addr is None:
        raise FieldError("nnodes", "needs --master-addr, where the machines reach the leader's")
    parts = ranks.data_parallel_size * ranks.pipeline_parallel_size * tensor_parallel_size
    if parts % machines:
        raise FieldError(
            "nnodes",
            f"the {parts} parts (--data-parallel-size times --pipeline-parallel-size times --tensor-parallel-size) "
            f"cannot be divided evenly over {machines} machines",
        )
    for name in ("data_parallel_size_local", "data_parallel_start_rank"):
        if name in given:
            raise FieldError(name, "cannot be combined with --nnodes, from which it follows")


def _check_leader(ranks: RankOptions) -> None:
    size, local = ranks.data_parallel_size, ranks.data_parallel_size_local
    if ranks.node_rank:
        raise FieldError("node_rank", "of the server must be 0; the other machines run `twowire engine`")
    if local is not None and local > size:
        raise FieldError("data_parallel_size_local", f"must be at most --data-parallel-size, {size}, got {local}")
    if ranks.remote and ranks.data_parallel_address is None and ranks.master_addr is None:
        raise FieldError(
            "data_parallel_size_local",
            f"{ranks.remote} of {size} copies would run on other machines; give --data-parallel-address, where they "
            "reach this one",
        )


def _follower(ranks: RankOptions) -> RankOptions:
    if ranks.leader_url is None:
        raise FieldError("leader_url", "must be given: a follower watches its leader")
    if ranks.nnodes > 1:
        if ranks.node_rank == 0:
            raise FieldError("node_rank", "must be at least 1; machine 0 runs `twowire serve`")
        return ranks
    if ranks.data_parallel_size == 1:
        raise FieldError("data_parallel_size", "a follower needs more than one copy of the model, or --nnodes")
    start, size = ranks.data_parallel_start_rank, ranks.data_parallel_size
    if start is None:
        raise FieldError("data_parallel_start_rank", "must be given: the number of the first copy on this machine")
    if ranks.data_parallel_address is None:
        raise FieldError("data_parallel_address", "must be given: where the leader is")
    if start >= size:
        raise FieldError("data_parallel_start_rank", f"must be less than --data-parallel-size, {size}, got {start}")
    local = size - start if ranks.data_parallel_size_local is None else ranks.data_parallel_size_local
    if not 1 <= local <= size - start:
        raise FieldError("data_parallel_size_local", f"must be from 1 to {size - start}, got {local}")
    return replace(ranks, data_parallel_size_local=local)
