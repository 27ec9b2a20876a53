"""Two machines with a network of their own, as two network namespaces that a pair of virtual interfaces joins.

They need no rights: both belong to a user namespace in which this user is root. `missing` says where none can be made.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.certificates import ROOT

INTERFACE = "between"
ADDRESSES = ("192.0.2.1", "192.0.2.2")
"""For documentation (RFC 5737): they lead nowhere outside."""
READY = "ready"
HOLD = f"ip link set lo up && echo {READY} && exec cat"
"""Keeps a namespace until its input ends, however this process ends."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a process runs: `enter` before its command takes it there."""

    address: str
    enter: tuple[str, ...]


def missing() -> str | None:
    """Why there can be no namespaces here; None if they can be made."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if unknown := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        return f"not found: {', '.join(unknown)} (packages util-linux, iproute2)"
    try:
        with network():
            return None
    except OSError as error:
        return f"network namespaces cannot be made here: {error}"


@contextlib.contextmanager
def network() -> Iterator[tuple[Machine, Machine]]:
    """For the block: two machines. Raises `OSError` where they cannot be made."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(_held("unshare", "--user", "--map-root-user", "--net"))
        into_users = ("nsenter", "--target", str(one), "--user", "--preserve-credentials")
        two = stack.enter_context(_held(*into_users, "unshare", "--net"))
        _run(*into_users, "--net", "ip", "link", "add", INTERFACE, "type", "veth", "peer", INTERFACE, "netns", str(two))
        machines = []
        for holder, address in zip((one, two), ADDRESSES, strict=True):
            enter = ("nsenter", "--target", str(holder), "--user", "--net", "--preserve-credentials")
            _run(*enter, "ip", "address", "add", f"{address}/24", "dev", INTERFACE)
            _run(*enter, "ip", "link", "set", INTERFACE, "up")
            machines.append(Machine(address, enter))
        yield machines[0], machines[1]


@contextlib.contextmanager
def reached(machine: Machine, port: int) -> Iterator[str]:
    """For the block: a URL of this machine, of which each connection leads to a port of `machine`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = (*machine.enter, sys.executable, "-m", "tests.live.servers.ranks.relay")
        arguments = (str(listener.fileno()), machine.address, str(port))
        relay = subprocess.Popen((*command, *arguments), cwd=ROOT, pass_fds=[listener.fileno()])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            relay.kill()
            relay.wait(30)


@contextlib.contextmanager
def _held(*command: str) -> Iterator[int]:
    """A namespace, and the process that keeps it."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "sh", "-c", HOLD], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        try:
            if holder.stdout.readline().strip() != READY:
                raise OSError(holder.stderr.read().strip())
            yield holder.pid
        finally:
            holder.kill()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())
