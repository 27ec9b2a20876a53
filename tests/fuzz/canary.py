"""A client that only wants to know whether the server still answers, and how slowly at worst.

Run as `python -m tests.fuzz.canary URL BOUND_MS`, in a process of its own, so that what it measures is the server and
not the fuzzer beside it. Asks `/livez` twenty times a second, on a kept connection and on new ones in turn, and for a
chat of two tokens now and then. Writes a line of JSON for each answer that is slower than the bound, or wrong; and,
once its standard input ends, a last one that sums up.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import httpx

EVERY_S, CHAT_EVERY_S = 0.05, 2.0
LIMIT_S = 60.0
CHAT = {"model": "guide", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
# Limits for each address are not to meet the canary for what the fuzzer does.
ADDRESS = "127.0.0.2"


class Canary:
    """See the module."""

    def __init__(self, url: str, bound_ms: float) -> None:
        self._url = url
        self._bound_ms = bound_ms
        self._is_over = threading.Event()
        self._slowest = {"livez": 0.0, "chat": 0.0}
        self._count = {"livez": 0, "chat": 0}

    def sing(self) -> None:
        """Until standard input ends."""
        asking = [threading.Thread(target=self._ask_livez), threading.Thread(target=self._ask_chats)]
        for thread in asking:
            thread.start()
        sys.stdin.read()
        self._is_over.set()
        for thread in asking:
            thread.join()
        self._say({"slowest_ms": self._slowest, "count": self._count})

    def _ask_livez(self) -> None:
        kept = self._client()
        while not self._is_over.wait(EVERY_S):
            if self._count["livez"] % 2:
                self._ask("livez", lambda: kept.get("/livez"))
            else:
                with self._client() as new:
                    self._ask("livez", lambda new=new: new.get("/livez"))
        kept.close()

    def _ask_chats(self) -> None:
        with self._client() as client:
            while not self._is_over.wait(CHAT_EVERY_S):
                self._ask("chat", lambda: client.post("/v1/chat/completions", json=CHAT))

    def _client(self) -> httpx.Client:
        transport = httpx.HTTPTransport(local_address=ADDRESS)
        return httpx.Client(base_url=self._url, transport=transport, timeout=LIMIT_S)

    def _ask(self, what: str, ask: object) -> None:
        assert callable(ask)
        began_at = time.monotonic()
        try:
            status = ask().status_code
            problem = None if status == 200 else f"status {status}"
        except httpx.HTTPError as error:
            problem = repr(error)
        took_ms = (time.monotonic() - began_at) * 1000
        self._count[what] += 1
        self._slowest[what] = max(self._slowest[what], took_ms)
        if problem or (what == "livez" and took_ms > self._bound_ms):
            self._say({"what": what, "ms": took_ms, "problem": problem})

    def _say(self, line: dict[str, object]) -> None:
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    Canary(sys.argv[1], float(sys.argv[2])).sing()
