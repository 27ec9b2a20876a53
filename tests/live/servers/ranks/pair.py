"""A leader and its follower, each on a machine of its own and under a supervisor of its own."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.live.servers.held import BRAKE_ARGS, BRAKE_FILE
from tests.live.servers.ports import unused_port
from tests.live.servers.ranks.chats import NOBODY
from tests.live.servers.ranks.network import INTERFACE, Machine, network, reached
from tests.live.servers.ranks.unit import Unit
from tests.live.servers.server import START_TIMEOUT_S, Server, pause

STALL_S = 10.0
PLACES = 4
"""Of each rank."""
STEP_S = 0.05
"""No step is quicker, so that an answer lasts."""
SMALL = ("--max-num-seqs", str(PLACES), "--cpu-kv-cache-gib", "1")
OF_THE_ENGINE = ("--dtype", "float32", *SMALL, "--engine-args", BRAKE_ARGS)
WATCHDOG = ("--stall-timeout-s", str(STALL_S), "--heartbeat-interval-s", "5")
OF_THE_SERVER = ("--allow-unauthenticated", "--no-embeddings", "--drain-timeout-s", "1", *WATCHDOG)
LOOPBACK = Machine("127.0.0.1", ())
POLL_S = 0.1

Health = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Options that say what runs where: common ones, the leader's and the follower's."""

    common: tuple[str, ...]
    leader: tuple[str, ...] = ()
    follower: tuple[str, ...] = ()


def copies(address: str, port: int) -> Layout:
    """A copy of the model on each machine."""
    meet = ("--data-parallel-address", address, "--data-parallel-rpc-port", str(port))
    leader = ("--data-parallel-size-local", "1")
    return Layout(("--data-parallel-size", "2", *meet), leader, ("--data-parallel-start-rank", "1"))


def halves(address: str, port: int) -> Layout:
    """One copy of the model, half of each layer on each machine."""
    common = ("--tensor-parallel-size", "2", "--nnodes", "2", "--master-addr", address, "--master-port", str(port))
    return Layout(common, ("--node-rank", "0"), ("--node-rank", "1"))


@dataclass
class Pair:
    """Both, and a watch over what the leader's /health says."""

    url: str
    leader: Unit
    follower: Unit
    start_s: float
    """How long a start may take."""
    healths: list[Health] = field(default_factory=list)
    """What it said, whenever it said another thing than before."""

    def health(self) -> Health:
        """What /health says; empty while nothing answers."""
        try:
            found: Health = httpx.get(f"{self.url}/health", timeout=30, verify=NOBODY).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found

    def is_ready(self) -> bool:
        return self.health().get("status") == "ok"

    def server(self) -> Server:
        """The leader, as the tests of servers know one."""
        return Server(self.leader.process, self.leader.log, self.url, verify=NOBODY)

    def wait_until(self, condition: Callable[[], object], what: object, limit_s: float) -> None:
        """Wait for `condition()`; fails with what both have written."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > limit_s:
                wrote = [f"{name}:\n{''.join(unit.log[-30:])}" for name, unit in self.units().items()]
                raise AssertionError(f"{what}: not within {limit_s} s; {self.healths[-5:]}\n" + "\n".join(wrote))
            pause(started)

    def units(self) -> dict[str, Unit]:
        return {"leader": self.leader, "follower": self.follower}

    def wait_ready(self, other_than: str = "") -> Health:
        """Wait until it serves, with another engine than `other_than`; returns what /health says."""
        self.wait_until(
            lambda: self.is_ready() and self.health().get("engine_id") != other_than,
            "the pair does not serve",
            self.start_s,
        )
        return self.health()

    def watch(self, stop: threading.Event) -> None:
        """Keep what /health says, until `stop`."""
        while not stop.wait(POLL_S):
            health = self.health()
            said = {name: health.get(name) for name in ("status", "engine_id", "reason")}
            if not self.healths or said != self.healths[-1]:
                self.healths.append(said)


@contextlib.contextmanager
def pair(
    folder: Path, layout: Callable[[str, int], Layout], *, in_namespaces: bool, start_s: float = START_TIMEOUT_S
) -> Iterator[Pair]:
    """A pair that has been started, and perhaps does not serve yet."""
    with contextlib.ExitStack() as stack:
        leader_at, follower_at = LOOPBACK, LOOPBACK
        if in_namespaces:
            leader_at, follower_at = stack.enter_context(network())
        port, meeting_port = unused_port(), unused_port()
        laid_out = layout(leader_at.address, meeting_port)
        url = f"http://{leader_at.address}:{port}"
        seen_at = stack.enter_context(reached(leader_at, port)) if in_namespaces else url
        brake = folder / "step_s"
        brake.write_text(str(STEP_S))
        common = [*OF_THE_ENGINE, *laid_out.common]

        def env(machine: Machine) -> dict[str, str]:
            # In the other namespace, the first interface that the system finds is not the one between them.
            interface = INTERFACE if in_namespaces else "lo"
            return {BRAKE_FILE: str(brake), "VLLM_HOST_IP": machine.address, "GLOO_SOCKET_IFNAME": interface}

        serve = ["serve", "--host", leader_at.address, "--port", str(port), *OF_THE_SERVER]
        python = (sys.executable, "-m", "app")
        leader = Unit([*leader_at.enter, *python, *serve, *common, *laid_out.leader], env(leader_at))
        stack.enter_context(leader)
        follow = ["engine", "--leader-url", url]
        follower = Unit([*follower_at.enter, *python, *follow, *common, *laid_out.follower], env(follower_at))
        stack.enter_context(follower)
        made, stop = Pair(seen_at, leader, follower, start_s), threading.Event()
        watcher = threading.Thread(target=made.watch, args=(stop,), daemon=True)
        watcher.start()
        try:
            yield made
        finally:
            stop.set()
            watcher.join(60)
