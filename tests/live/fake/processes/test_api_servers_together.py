"""API servers of one process tree: one reaches the chats of another, and all read the keys again."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from tests.live.clients.elsewhere import cancelled_elsewhere
from tests.live.servers.server import fake_server

SOON_S = 60.0


def test_api_servers_reach_each_others_chats_and_read_keys_again_on_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old, kept, new = (f"key-number-{number}-0123456789" for number in range(3))
    file.write_text(f"{old}\n{kept}\n")
    flags = ("--api-server-count", "2", "--api-server-balance-by", "connection", "--api-keys-file", str(file))
    with fake_server(*flags) as server:

        def status(key: str) -> int:
            # A connection of its own, so that any of the API servers may get it.
            headers = {"Authorization": f"Bearer {key}"}
            return httpx.get(f"{server.url}/v1/models", headers=headers, timeout=SOON_S).status_code

        assert [status(key) for key in (old, kept, new)] == [200, 200, 401]
        for _ in range(4):
            cancelled_elsewhere(server.url, server.url, old, kept)
        file.write_text(f"{kept}\n{new}\n")
        server.process.send_signal(signal.SIGHUP)

        def logged(event: str) -> int:
            return sum(event in line for line in server.log)

        server.wait_until(lambda: logged("api_keys_reloaded") == 2, SOON_S, "the keys were not read again")
        assert {tuple(status(key) for key in (old, kept, new)) for _ in range(8)} == {(401, 200, 200)}
        file.write_text("# nothing\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: logged("api_keys_not_reloaded") == 2, SOON_S, "the log says nothing")
        assert [status(key) for key in (old, kept, new)] == [401, 200, 200]
