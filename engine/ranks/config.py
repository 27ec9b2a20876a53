"""How one engine is spread over ranks and machines. Names and meanings are vLLM's, but for the followers' own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from engine.option import Option

OWN = frozenset({"follower_timeout_s", "leader_url"})
"""Options that vLLM does not know."""
MAX_PORT = 65535


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    try:
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # The port is no number.
        is_whole = False
    if not is_whole or parts.username is not None:
        raise ValueError(f"must be the leader's address, such as http://10.0.0.1:8000, got {url[:80]!r}")
    return url.rstrip("/")


@dataclass(frozen=True, slots=True)
class RankOptions:
    """A rank is an engine core of its own with all of the model, or of the part that its machine computes.

    The leader, `twowire serve`, has rank 0 and serves; on each other machine a follower, `twowire engine`, runs ranks.
    """

    data_parallel_size: Annotated[
        int, Option("The number of copies of the model to run; requests go to the least loaded one.", ge=1)
    ] = 1
    data_parallel_size_local: Annotated[
        int | None,
        Option("The number of those copies that run on this machine.", shown="all; of a follower, the rest", ge=0),
    ] = None
    data_parallel_start_rank: Annotated[
        int | None,
        Option(
            "The number of the first copy on this machine. Only for a follower, `twowire engine`.", shown="none", ge=1
        ),
    ] = None
    data_parallel_address: Annotated[
        str | None,
        Option(
            "Where followers reach the leader's machine, for copies of the model: an address of a private network, "
            "because nothing on it is authenticated or encrypted.",
            shown="--master-addr",
            metavar="ADDRESS",
        ),
    ] = None
    data_parallel_rpc_port: Annotated[
        int | None,
        Option("The port there on which followers report.", shown="29550", ge=1, le=MAX_PORT),
    ] = None
    pipeline_parallel_size: Annotated[int, Option("The number of stages to divide the model's layers into.", ge=1)] = 1
    nnodes: Annotated[int, Option("The number of machines that one engine runs on.", ge=1)] = 1
    node_rank: Annotated[
        int, Option("The number of this machine: 0 is the leader, the others are followers, `twowire engine`.", ge=0)
    ] = 0
    master_addr: Annotated[
        str | None,
        Option(
            "Where the machines of --nnodes reach the leader's: an address of a private network, as above.",
            shown="none",
            metavar="ADDRESS",
        ),
    ] = None
    master_port: Annotated[
        int | None, Option("The port on the leader's machine where they connect.", shown="29501", ge=1, le=MAX_PORT)
    ] = None
    distributed_executor_backend: Annotated[
        Literal["mp", "ray"] | None,
        Option(
            "How the parts of one copy of the model are started: as processes, or by a Ray cluster of GPUs.",
            shown="mp",
            metavar="{mp,ray}",
        ),
    ] = None
    follower_timeout_s: Annotated[
        float,
        Option("How long a start waits for the followers' ranks to report before it fails.", gt=0),
    ] = 600.0
    leader_url: Annotated[
        str | None,
        Option(
            "The leader's URL, whose /health the follower watches. Only for a follower, `twowire engine`.",
            shown="none",
            metavar="URL",
            check=_check_url,
        ),
    ] = None

    @property
    def remote(self) -> int:
        """How many copies of the model run on other machines, as the leader sees it."""
        if self.nnodes > 1:
            # vLLM divides the copies over the machines evenly.
            return self.data_parallel_size - max(self.data_parallel_size // self.nnodes, 1)
        local = self.data_parallel_size_local
        return 0 if local is None else self.data_parallel_size - local

    @property
    def local(self) -> int:
        """How many copies of the model run on this machine, if it is the leader's."""
        return self.data_parallel_size - self.remote

    @property
    def has_followers(self) -> bool:
        """Whether the engine needs other machines."""
        return self.remote > 0 or self.nnodes > 1

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of vLLM's `AsyncEngineArgs`."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in OWN}
        if self.nnodes > 1 and self.distributed_executor_backend is None:
            given["distributed_executor_backend"] = "mp"
        return {name: value for name, value in given.items() if value is not None}
