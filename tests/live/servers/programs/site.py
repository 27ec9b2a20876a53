"""Several servers with the counting engine behind the real nginx, HAProxy and Caddy, a real Redis behind them.

The proxies are set up as deploy/ says, but give each request to the next server, which is the hardest case; and so does
the system with the API servers of each.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.live.servers.ports import unused_port
from tests.live.servers.programs.proxies import CADDY, HAPROXY, NGINX, Setup, caddy_before, haproxy_before, nginx_before
from tests.live.servers.programs.redis_server import MISSING, PROGRAM, RedisServer, redis_server
from tests.live.servers.server import Server, start_fake_server, stop_server

SOON_S = 60.0
API_SERVERS = 2
PASSWORD = "a-password"


def missing() -> str | None:
    """What has to be installed first."""
    if PROGRAM is None:
        return MISSING
    for proxy in (NGINX, HAPROXY, CADDY):
        if proxy.program is None:
            return f"{proxy.name} is not installed; on Debian: apt-get install {proxy.package}"
    return None


@dataclass
class Site:
    """The servers, their store, and the addresses of the balancers before them."""

    servers: list[Server]
    redis: RedisServer
    balancers: dict[str, str]
    killed: list[Server] = field(default_factory=list)

    def wait_store(self, *, is_up: bool) -> None:
        """Wait until each API server knows whether the store answers."""

        def is_known() -> bool:
            return all(
                server.metric("twowire_store_up", api_server=str(number)) == float(is_up)
                for server in self.servers
                for number in range(API_SERVERS)
            )

        self.servers[0].wait_until(is_known, SOON_S, f"store up: {is_up}")

    def kill(self, server: Server) -> None:
        """End all processes of a server at once, as when its machine fails."""
        self.killed.append(server)
        processes = [psutil.Process(server.process.pid), *server.engine_processes()]
        for process in processes:
            process.send_signal(signal.SIGSTOP)  # So that none of them starts another.
        for process in processes:
            process.kill()
        server.process.wait(SOON_S)


@contextmanager
def site_in(folder: Path, keys: Sequence[str], *, per_minute: int, pace_s: float) -> Iterator[Site]:
    """Two servers with two API servers each, until the end of the block, where they must stop without a complaint."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(_made(folder / "redis"), password=PASSWORD))
        # The timeout is long: the machine that runs the tests is busy, and a killed store refuses at once.
        flags = ["--store", redis.url, "--store-timeout-s", "30", "--responses-store", "shared", "--public-metrics"]
        flags += ["--api-server-count", str(API_SERVERS)]
        env = {
            "FAKE_PACE_S": str(pace_s),
            "TWOWIRE_RELAY_SECRET": "a-secret-of-both-servers",
            "TWOWIRE_API_KEYS": ",".join(keys),
            "TWOWIRE_STORE_PASSWORD": redis.password,
            "TWOWIRE_REQUESTS_PER_MINUTE": str(per_minute),
        }
        relays = [(*flags, "--relay-port", str(unused_port())) for _ in range(2)]
        with ThreadPoolExecutor() as threads:
            starts = [threads.submit(start_fake_server, *own, env=env) for own in relays]
        # Also of those that did not fail, where one did.
        site = Site([start.result() for start in starts if start.exception() is None], redis, {})
        stack.callback(_stop, site)
        servers = [start.result() for start in starts]
        addresses = [server.url.removeprefix("http://") for server in servers]
        for proxy in (nginx_before(addresses), haproxy_before(addresses), caddy_before(addresses)):
            port = unused_port()
            stack.enter_context(proxy.running(_made(folder / proxy.name), Setup(port, "", Path(), Path())))
            site.balancers[proxy.name] = f"http://127.0.0.1:{port}"
        yield site


def _stop(site: Site) -> None:
    codes = [(stop_server(server), server in site.killed) for server in site.servers]
    for server in site.servers:
        assert not any("Traceback" in line for line in server.log), "".join(server.log)
        assert not any(PASSWORD in line for line in server.log)
    assert all(code == 0 or was_killed for code, was_killed in codes), codes


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
