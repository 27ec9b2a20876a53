"""Everything that may happen to a leader and its follower, one after another, with the real engine.

    python -m bench.soak.ranks
    python -m bench.soak.ranks --layout copies --only leader "local rank"

Each of the two is on a machine of its own, which is a network namespace, and under a supervisor that only starts it
again. First, they have a copy of the model each, then half of one. After each fault, every client must have its end
within 30 seconds, /health must be true throughout, and the pair must serve again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.live.servers.ranks.faults import OF_COPIES, OF_HALVES, Fault, assert_serves, suffer
from tests.live.servers.ranks.network import missing
from tests.live.servers.ranks.pair import copies, halves, pair

START_S = 900.0
"""However busy the machine is."""
LAYOUTS = {"copies": (copies, OF_COPIES, 2), "halves": (halves, OF_HALVES, 1)}
"""By name: the layout, what may happen to it, and its ranks."""


def soak(name: str, faults: list[Fault], *, in_namespaces: bool) -> None:
    """Print what followed each fault. Fails if what must follow does not."""
    layout, _, ranks = LAYOUTS[name]
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        pair(Path(folder), layout, in_namespaces=in_namespaces, start_s=START_S) as both,
    ):
        both.wait_ready()
        assert_serves(both)
        print(f"{name}: served {time.monotonic() - began:.0f} s after the start", flush=True)
        for fault in faults:
            followed = suffer(both, fault, ranks)
            print(
                f"{name}: {fault.name}: all chats ended with {fault.ends} within {followed.ended_s:.1f} s; "
                f"served again after {followed.serves_s:.0f} s",
                flush=True,
            )


def main() -> int:
    """0 if all went as it must."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak.ranks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layout", choices=LAYOUTS, help="only this one")
    parser.add_argument("--only", nargs="+", default=[""], help="only faults whose names contain one of these texts")
    options = parser.parse_args()
    # Otherwise the servers would outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    reason = missing()
    if reason is not None:
        print(f"{reason}; both run on loopback", flush=True)
    for name in LAYOUTS:
        faults = [fault for fault in LAYOUTS[name][1] if any(text in fault.name for text in options.only)]
        if faults and options.layout in (None, name):
            soak(name, faults, in_namespaces=reason is None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
