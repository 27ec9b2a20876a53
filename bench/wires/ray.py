"""What Ray Serve's own web server costs beside hypercorn, or with `--engine real`, that two replicas of the guide work.

python -m bench.wires.ray [--requests 300] [--engine real]

The counting engine makes its tokens at once, so what is measured is the web servers and the app. Needs Ray: see
`tests/live/servers/programs/ray_packages.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable

import httpx
import psutil
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from app.generation.replay.elsewhere import whereabouts_of
from tests.live.servers.programs.ray_cluster import RayCluster, ray_cluster
from tests.live.servers.server import MODEL, Server, fake_server

PATH = "/v1/chat/completions"
COUNTED = 16
LIMIT_S = 60.0
REAL_START_S = 700.0
WARM_UP = 20

Call = Callable[[], Awaitable[object]]


def body(*, is_streamed: bool = False) -> dict[str, object]:
    content = f"Count from 1 to {COUNTED}"
    return {"model": MODEL, "stream": is_streamed, "messages": [{"role": "user", "content": content}]}


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


async def measure(
    what: str, where: str, call: Call, requests: int, processes: Callable[[], list[psutil.Process]]
) -> None:
    for _ in range(WARM_UP):
        await call()
    before, times = cpu_seconds(processes()), []
    for _ in range(requests):
        started = time.perf_counter()
        await call()
        times.append(1000 * (time.perf_counter() - started))
    spent = 1000 * (cpu_seconds(processes()) - before) / requests
    times.sort()
    p50, p99 = statistics.median(times), times[int(0.99 * len(times))]
    print(f"| {what} | {where} | {p50:.1f} ms | {p99:.1f} ms | {spent:.1f} ms |", flush=True)


async def compare(where: str, url: str, requests: int, processes: Callable[[], list[psutil.Process]]) -> None:
    """Whole answers, streams and turns of a socket, one after another."""
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as client:

        async def whole() -> None:
            (await client.post(PATH, json=body())).raise_for_status()

        async def streamed() -> None:
            async with client.stream("POST", PATH, json=body(is_streamed=True)) as answer:
                async for _ in answer.aiter_bytes():
                    pass

        await measure("whole", where, whole, requests, processes)
        await measure("streamed", where, streamed, requests, processes)
    async with connect(url.replace("http", "ws", 1) + PATH, subprotocols=[Subprotocol("twowire.v1")]) as channel:
        asked = json.dumps({"type": "chat.completion.create", "body": body(), "stream_id": "a", "event_id": "e"})

        async def turn() -> None:
            await channel.send(asked)
            while json.loads(await channel.recv())["type"] != "chat.completion.done":
                pass

        await measure("WebSocket", where, turn, requests, processes)


def run_counting(requests: int) -> None:
    print("| Answer | Server | p50 | p99 | CPU, all processes |\n|---|---|---|---|---|")
    env = {"FAKE_PACE_S": "0", "TWOWIRE_LOG_LEVEL": "warning"}
    with fake_server(env=env) as server:
        asyncio.run(compare("hypercorn", server.url, requests, lambda: of_server(server)))
    with ray_cluster("counting", "--no-embeddings", env=env) as cluster:
        asyncio.run(compare("Ray Serve", cluster.url, requests, lambda: of_cluster(cluster)))


def of_server(server: Server) -> list[psutil.Process]:
    return [psutil.Process(server.process.pid), *server.engine_processes()]


def of_cluster(cluster: RayCluster) -> list[psutil.Process]:
    return cluster.processes()


def run_real() -> None:
    """Answers, streams, a client that leaves, and a replica that is killed with its engine."""
    started = time.perf_counter()
    flags = ["--no-embeddings", "--cpu-kv-cache-gib", "1", "--public-metrics"]
    with ray_cluster("real", *flags, start_s=REAL_START_S) as cluster:
        print(f"ready after {time.perf_counter() - started:.0f} s", flush=True)
        with httpx.Client(base_url=cluster.url, timeout=LIMIT_S) as client:
            seen = {served_by(client) for _ in range(20)}
            print(f"answers of {len(seen)} replicas", flush=True)
            begun = time.perf_counter()
            with client.stream("POST", PATH, json=body(is_streamed=True) | {"max_tokens": 40}) as answer:
                lines = [line for line in answer.iter_lines() if line]
            print(
                f"streamed {len(lines)} events in {time.perf_counter() - begun:.2f} s, last {lines[-1]!r}", flush=True
            )
            endless = body(is_streamed=True) | {"max_tokens": 2000, "ignore_eos": True}
            with client.stream("POST", PATH, json=endless) as answer:
                next(answer.iter_lines())
            print(f"a client that left freed its slot after {until_logged(cluster, 'cancelled'):.2f} s", flush=True)
            victim = cluster.replicas()[0]
            engine = victim.children(recursive=True)
            killed = time.perf_counter()
            victim.kill()
            _, alive = psutil.wait_procs([victim, *engine], timeout=LIMIT_S)
            print(f"killed a replica: {len(engine)} processes of its engine, {len(alive)} left", flush=True)
            while len(seen | {served_by(client)}) == len(seen):
                time.sleep(0.2)
            print(f"another one answered {time.perf_counter() - killed:.0f} s later", flush=True)


def served_by(client: httpx.Client) -> str:
    answer = client.post(PATH, json=body() | {"max_tokens": 8})
    place = whereabouts_of(answer.raise_for_status().json()["id"])
    assert place is not None
    return place.server


def until_logged(cluster: RayCluster, outcome: str) -> float:
    started = time.perf_counter()
    while not any(f'"outcome": "{outcome}"' in line for line in cluster.log):
        assert time.perf_counter() - started < LIMIT_S, cluster.log[-5:]
        time.sleep(0.01)
    return time.perf_counter() - started


def parser() -> argparse.ArgumentParser:
    """Its options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--engine", choices=["counting", "real"], default="counting")
    return parser


def main() -> None:
    """Measure, and print the table."""
    options = parser().parse_args()
    if options.engine == "real":
        run_real()
    else:
        run_counting(options.requests)


if __name__ == "__main__":
    main()
