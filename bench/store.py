"""What rate limits in a shared store cost a request, in CPU time of the server, beside those in memory.

The same for API servers that ask API server 0, whose own CPU time is counted, too.

    python -m bench.store [--requests 2000] [--at-once 64]

Starts a Redis server of its own on a Unix socket, and does what a chat with both limits does: one request admitted,
its prompt's tokens reserved, the headers of the response, and the tokens of its answer settled afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from app.config.connections import RatesPerMinute
from app.limits.rate_limits import RateLimits
from app.stores.base import Store, StoreOptions
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from app.stores.shared import SharedStore
from protocol.output import Usage
from tests.app.relay.leaders import leader_in
from tests.live.servers.programs.redis_server import MISSING, PROGRAM, redis_server

CLIENTS = 20
PLENTY = 10**9
ROUNDS = 5


@dataclass(eq=False)
class Spender:
    """A generation, as far as the limits know it."""

    usage: Usage = field(default_factory=Usage)


async def request(rates: RateLimits, client: str) -> None:
    """What one chat asks of the limits."""
    await rates.admit(client)
    await rates.reserve(client, 100)
    spender = Spender()
    rates.follow(client, spender)
    await rates.headers(client)
    spender.usage.completion_tokens += 60
    rates.ended(spender)


async def cpu_ms(store: Store, requests: int, at_once: int) -> float:
    """The CPU time of a request in milliseconds, the best of some rounds."""
    rates = RateLimits(store, RatesPerMinute(PLENTY, PLENTY))

    async def run(count: int) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for number in left:
                await request(rates, f"client {number % CLIENTS}")

        await asyncio.gather(*(worker() for _ in range(at_once)))

    await run(10 * at_once)
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        await run(requests)
        best = min(best, (time.process_time() - started) * 1000 / requests)
    return best


async def main() -> None:
    """Print one line for each store and number of requests at once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="in each round")
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    if PROGRAM is None:
        sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as server:
        async with leader_in(Path(folder)) as leader:
            leader.start()
            for at_once in (1, options.at_once):
                memory = await cpu_ms(MemoryStore(), options.requests, at_once)
                print(f"{at_once} at once: memory {memory:.3f} ms of CPU a request")
                redis = RedisStore(StoreOptions(SecretStr(server.url), None, 30.0))
                for name, remote in (("Redis", redis), ("API server 0", leader.store())):
                    shared = SharedStore(remote, name)
                    taken = await cpu_ms(shared, options.requests, at_once)
                    assert shared.failures == 0
                    await shared.close()
                    print(f"{at_once} at once: {name} {taken:.3f} ms, {taken - memory:.3f} ms more")


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
