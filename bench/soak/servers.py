"""Many chats that move between two servers with two API servers each, behind three balancers, while the store fails.

    python -m bench.soak.servers --chats 1000

Each begins at random through nginx, HAProxy or Caddy, over HTTP or on a WebSocket, is cut anywhere, and goes on through
either server on the other wire, twice. The store is killed after a third of them, and started after two thirds, empty.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.live.clients.moving_chats import SOON_S, MovingChat, moved
from tests.live.servers.programs.site import Site, missing, site_in

KEYS = [f"key-of-chats-{number}-0123456789" for number in range(64)]
PLENTY = 10**6
COUNTED = 150
AT_ONCE = 16


def soak(site: Site, chats: int, seed: int) -> Counter[str]:
    """Move all chats; what came of each, by name."""
    servers, beginnings = [server.url for server in site.servers], list(site.balancers.values())
    rng = random.Random(seed)
    seeds = [rng.random() for _ in range(chats)]
    found: Counter[str] = Counter()
    with httpx.Client(timeout=SOON_S) as http, ThreadPoolExecutor(AT_ONCE) as threads:

        def move(number: int) -> str:
            chat = MovingChat(KEYS[number % len(KEYS)], COUNTED, http)
            try:
                moved(chat, beginnings, servers, random.Random(seeds[number]))
            except Exception as error:
                return repr(error)[:300]
            return "whole" if chat.is_whole else f"not whole: {chat.numbers}"

        for number, outcome in enumerate(threads.map(move, range(chats)), 1):
            found[outcome] += 1
            if number == chats // 3:
                site.redis.kill()
            elif number == 2 * chats // 3:
                site.redis.start()
    return found


def main() -> int:
    """Print what came of the chats; 0 if every text is whole."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak.servers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    if (reason := missing()) is not None:
        sys.exit(reason)
    with (
        tempfile.TemporaryDirectory() as folder,
        site_in(Path(folder), KEYS, per_minute=PLENTY, pace_s=0.002) as site,
    ):
        began = time.monotonic()
        found = soak(site, options.chats, options.seed)
        took_s = time.monotonic() - began
        by_server = [
            {number: int(server.metric("twowire_generations_total", api_server=number)) for number in "01"}
            for server in site.servers
        ]
        for server in site.servers:
            server.wait_idle(SOON_S)
    for outcome, count in found.most_common():
        print(f"{count} chats: {outcome}")
    print(f"in {took_s:.0f} s; generations by server and API server: {by_server}")
    return 0 if set(found) == {"whole"} else 1


if __name__ == "__main__":
    sys.exit(main())
