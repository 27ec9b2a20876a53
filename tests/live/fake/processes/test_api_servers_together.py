"""API servers of one process tree: what one promises, all keep together, whichever of them a connection meets."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.engine.adapters.made import make_adapter
from tests.live.clients.api_servers import CHAT, client_of
from tests.live.clients.elsewhere import cancelled_elsewhere
from tests.live.clients.raw import RawClient, answer_of, request_bytes
from tests.live.clients.tickets import shown, ticket
from tests.live.servers.server import MODEL, Server, fake_server

SOON_S = 60.0
KEYS = [f"key-number-{number}-0123456789" for number in range(5)]
ADMIN = "admin-key-0123456789"
PER_MINUTE = 120
ROOM = 40


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    flags = ["--api-server-count", "2", "--max-connections-per-address", str(ROOM), "--ws-max-connections-per-key", "2"]
    flags += ["--enable-lora"]
    env = {
        "FAKE_MORTAL": "1",
        "FAKE_PACE_S": "0",
        "TWOWIRE_API_KEYS": ",".join(KEYS),
        "TWOWIRE_REQUESTS_PER_MINUTE": str(PER_MINUTE),
        "TWOWIRE_PUBLIC_METRICS": "1",
        "TWOWIRE_ADMIN_API_KEY": ADMIN,
    }
    with fake_server(*flags, env=env) as found:
        yield found
    assert not any("Traceback" in line for line in found.log), "".join(found.log)


def test_api_servers_reach_each_others_chats_and_read_keys_again_on_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old, kept, new = (f"key-number-{number}-0123456789" for number in range(3))
    file.write_text(f"{old}\n{kept}\n")
    flags = ("--api-server-count", "2", "--api-keys-file", str(file))
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


@contextmanager
def reached(server: Server, number: int, key: str) -> Iterator[httpx.Client]:
    """A client of an API server. Finding it costs another key's requests."""
    with client_of(server.url, number, KEYS[4]) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def test_a_limit_holds_over_all_of_them(server: Server) -> None:
    with reached(server, 0, KEYS[0]) as one, reached(server, 1, KEYS[0]) as other, ThreadPoolExecutor(2) as threads:
        started = time.monotonic()

        def post(client: httpx.Client) -> list[int]:
            return [client.post("/v1/chat/completions", json=CHAT).status_code for _ in range(PER_MINUTE)]

        statuses = list(threads.map(post, (one, other)))
    refilled = (time.monotonic() - started) * PER_MINUTE / 60
    granted = [each.count(200) for each in statuses]
    assert PER_MINUTE <= sum(granted) <= 1.05 * PER_MINUTE + refilled
    assert {*statuses[0], *statuses[1]} == {200, 429}
    assert min(granted) > 10, f"one had nearly all of them: {granted}"


def test_a_ticket_of_one_opens_one_socket_on_any_of_them(server: Server) -> None:
    for _ in range(8):  # Each connection meets either.
        made = ticket(server.url, KEYS[1])
        assert [shown(server.url, made) for _ in range(3)] == [101, 401, 401]


def test_responses_of_one_are_found_through_any_of_them(server: Server) -> None:
    asked = {"model": MODEL, "input": "hi", "max_output_tokens": 2}
    with reached(server, 0, KEYS[2]) as one, reached(server, 1, KEYS[2]) as other:
        for here, there in ((one, other), (other, one)):
            first = here.post("/v1/responses", json=asked).json()
            assert there.get(f"/v1/responses/{first['id']}").json() == first
            second = there.post("/v1/responses", json=asked | {"previous_response_id": first["id"]}).json()
            assert second["previous_response_id"] == first["id"]
            assert len(here.get(f"/v1/responses/{second['id']}/input_items").json()["data"]) == 1
            there.headers["Authorization"] = f"Bearer {KEYS[3]}"
            assert there.get(f"/v1/responses/{first['id']}").status_code == 404
            there.headers["Authorization"] = f"Bearer {KEYS[2]}"
            assert there.delete(f"/v1/responses/{first['id']}").json()["deleted"]
            assert here.get(f"/v1/responses/{first['id']}").status_code == 404
        conversation = one.post("/v1/conversations", json={}).json()["id"]
        assert other.post("/v1/responses", json=asked | {"conversation": conversation}).status_code == 200
        assert len(one.get(f"/v1/conversations/{conversation}/items").json()["data"]) == 2


def change(client: httpx.Client, do: str, **what: str) -> int:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    return client.post(f"/v1/{do}_lora_adapter", json=what, headers=headers).status_code


def asked_of(client: httpx.Client, model: str) -> int:
    return client.post("/v1/chat/completions", json=CHAT | {"model": model}).status_code


def test_an_adapter_that_one_loads_is_served_by_all(server: Server, tmp_path: Path) -> None:
    folder = str(make_adapter(tmp_path / "sql"))
    with reached(server, 0, KEYS[1]) as one, reached(server, 1, KEYS[1]) as other:
        for client, name in ((one, "sql"), (other, "law")):
            assert change(client, "load", lora_name=name, lora_path=folder) == 200
            assert [asked_of(each, name) for each in (one, other)] == [200, 200]
        assert change(other, "load", lora_name="sql", lora_path=folder) == 400
        assert change(other, "unload", lora_name="sql") == 200
        assert [asked_of(each, "sql") for each in (one, other)] == [404, 404]
        assert [asked_of(each, "law") for each in (one, other)] == [200, 200]


def test_connections_of_an_address_are_counted_over_all_of_them(server: Server) -> None:
    with ExitStack() as stack:

        def connected() -> RawClient:
            client = stack.enter_context(RawClient(server.port, source="127.0.0.9"))
            client.send(request_bytes("/livez", method="GET"))
            return client

        for _ in range(ROOM):
            connected().read_until(b'{"status":"ok"}')
        for _ in range(4):
            assert answer_of(connected().read_to_end())[0] == 503
    server.wait_until(lambda: httpx.get(f"{server.url}/livez").status_code == 200, SOON_S, "others are served")


def test_when_api_server_0_dies_the_others_go_on_and_use_the_next_one(server: Server) -> None:
    """Their clients notice nothing but that what it kept is gone: stored responses, used tickets, limits."""
    first = min(server.engine_processes(), key=lambda process: (process.create_time(), process.pid))
    asked = {"model": MODEL, "input": "hi", "max_output_tokens": 2}
    with reached(server, 1, KEYS[3]) as client:
        kept = client.post("/v1/responses", json=asked).json()["id"]
        assert client.get(f"/v1/responses/{kept}").status_code == 200
        first.kill()
        psutil.wait_procs([first], SOON_S)
        for _ in range(4):
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200

        def is_back() -> bool:
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
            return client.get(f"/v1/responses/{kept}").status_code == 404

        server.wait_until(is_back, SOON_S, "API server 0 was not replaced")
        server.wait_until(lambda: asked_of(client, "law") == 404, SOON_S, "it serves an adapter that is gone")
        with reached(server, 0, KEYS[3]) as other:
            kept = other.post("/v1/responses", json=asked).json()["id"]
            assert client.get(f"/v1/responses/{kept}").status_code == 200
    assert any('"api_server_ended"' in line or "api_server_ended" in line for line in server.log)
