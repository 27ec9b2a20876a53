"""Two servers with the counting engine behind the real nginx and HAProxy, a real Redis behind them.

The proxies are set up as deploy/ says, but give each request to the next server, which is the hardest case.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.live.clients.elsewhere import cancelled_elsewhere
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_websocket import handshake
from tests.live.servers.ports import unused_port
from tests.live.servers.proxies import HAPROXY, NGINX, Setup, haproxy_before, nginx_before
from tests.live.servers.redis_server import MISSING, PROGRAM, RedisServer, redis_server
from tests.live.servers.server import MODEL, Server, fake_server

KEYS = [f"key-number-{number}-0123456789" for number in range(6)]
PER_MINUTE = 120
SOON_S = 60.0
COUNTED = 150
COUNTING = {"model": MODEL, "messages": [{"role": "user", "content": f"Count from 1 to {COUNTED}"}]}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


@dataclass
class Site:
    """The servers, their store, and the addresses of the balancers before them."""

    servers: list[Server]
    redis: RedisServer
    balancers: dict[str, str]

    def client(self, key: str) -> httpx.Client:
        return httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=SOON_S)

    def wait_store(self, is_up: bool) -> None:
        for server in self.servers:
            server.wait_until(
                lambda server=server: server.metric("twowire_store_up") == float(is_up), SOON_S, f"store up: {is_up}"
            )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    for proxy in (NGINX, HAPROXY):
        if proxy.program is None:
            pytest.skip(f"{proxy.name} is not installed; on Debian: apt-get install {proxy.package}")
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path_factory.mktemp("redis"), password="a-password"))
        # The timeout is long: the machine that runs the tests is busy, and a killed store refuses at once.
        flags = ("--store", redis.url, "--store-timeout-s", "30", "--responses-store", "shared", "--public-metrics")
        env = {
            "FAKE_PACE_S": "0.002",
            "TWOWIRE_RELAY_SECRET": "a-secret-of-both-servers",
            "TWOWIRE_API_KEYS": ",".join(KEYS),
            "TWOWIRE_STORE_PASSWORD": redis.password,
            "TWOWIRE_REQUESTS_PER_MINUTE": str(PER_MINUTE),
        }
        with ThreadPoolExecutor() as threads:
            relays = [(*flags, "--relay-port", str(unused_port())) for _ in range(2)]
            starts = [
                threads.submit(lambda own: stack.enter_context(fake_server(*own, env=env)), own) for own in relays
            ]
            servers = [start.result() for start in starts]
        addresses = [server.url.removeprefix("http://") for server in servers]
        balancers = {}
        for proxy in (nginx_before(addresses), haproxy_before(addresses)):
            port = unused_port()
            folder = tmp_path_factory.mktemp(proxy.name)
            stack.enter_context(proxy.running(folder, Setup(port, "", Path(), Path())))
            balancers[proxy.name] = f"http://127.0.0.1:{port}"
        yield Site(servers, redis, balancers)
        for server in servers:
            assert not any("Traceback" in line for line in server.log), "".join(server.log)
            assert not any(redis.password in line for line in server.log)


def test_a_limit_holds_over_all_servers(site: Site) -> None:
    """Asked through both balancers at once, by more requests than are allowed."""
    urls = list(site.balancers.values())
    started = time.monotonic()
    with site.client(KEYS[0]) as client, ThreadPoolExecutor(8) as threads:
        made = range(2 * PER_MINUTE)

        def post(number: int) -> int:
            return client.post(f"{urls[number % 2]}/v1/chat/completions", json=CHAT).status_code

        statuses = list(threads.map(post, made))
    refilled = (time.monotonic() - started) * PER_MINUTE / 60
    assert set(statuses) == {200, 429}
    granted = statuses.count(200)
    assert PER_MINUTE <= granted <= 1.05 * PER_MINUTE + refilled
    counts = [server.metric("twowire_generations_total") for server in site.servers]
    assert min(counts) > 0.3 * granted, f"one server had nearly all of them: {counts}"


def ticket(url: str, key: str) -> str:
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=SOON_S) as client:
        return str(client.post(f"{url}/v1/ws/tickets").json()["subprotocol"])


def shown(url: str, protocol: str) -> int:
    """The status of a handshake with a ticket."""
    with RawClient(int(url.rpartition(":")[2])) as client:
        client.send(handshake(f"Sec-WebSocket-Protocol: twowire.v1, {protocol}"))
        return int(client.read_until(b"\r\n\r\n").split(b" ", 2)[1])


@pytest.mark.parametrize("balancer", ["nginx", "haproxy"])
def test_a_ticket_opens_one_socket_on_any_server(site: Site, balancer: str) -> None:
    one, other = (server.url for server in site.servers)
    for issuer, first, second in ((one, other, one), (one, one, other), (other, one, other)):
        made = ticket(issuer, KEYS[1])
        assert [shown(first, made), shown(second, made)] == [101, 401]
    made = ticket(site.balancers[balancer], KEYS[1])
    assert sorted(shown(site.balancers[balancer], made) for _ in range(3)) == [101, 401, 401]


def test_of_many_handshakes_with_one_ticket_at_once_one_succeeds(site: Site) -> None:
    made = ticket(site.servers[0].url, KEYS[1])
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(lambda number: shown(site.servers[number % 2].url, made), range(8)))
    assert sorted(statuses) == [101, *[401] * 7]


def test_responses_are_found_through_any_server_by_their_key(site: Site) -> None:
    one, other = (f"{server.url}/v1/responses" for server in site.servers)
    with site.client(KEYS[2]) as client, site.client(KEYS[3]) as stranger:
        first = client.post(one, json={"model": MODEL, "input": "hi", "max_output_tokens": 2}).json()
        assert client.get(f"{other}/{first['id']}").json() == first
        assert stranger.get(f"{other}/{first['id']}").status_code == 404
        asked: dict[str, Any] = {"model": MODEL, "input": "more", "max_output_tokens": 2}
        second = client.post(other, json=asked | {"previous_response_id": first["id"]}).json()
        assert (second["status"], second["previous_response_id"]) == ("incomplete", first["id"])
        assert len(client.get(f"{one}/{second['id']}/input_items").json()["data"]) == 1
        assert client.delete(f"{other}/{first['id']}").json()["deleted"]
        assert client.get(f"{one}/{first['id']}").status_code == 404


def read_numbers(lines: Iterator[str], until: int) -> tuple[list[int], int]:
    """The numbers that a stream counts, up to `until`, and the id of its last chunk."""
    numbers: list[int] = []
    last = 0
    for line in lines:
        if line.startswith("id: "):
            last = int(line.removeprefix("id: "))
        elif line.startswith("data: {"):
            delta = json.loads(line.removeprefix("data: "))["choices"][0]["delta"]
            numbers += map(int, (delta.get("content") or "").split())
            if numbers and numbers[-1] >= until:
                break
    return numbers, last


def cut_and_resumed(site: Site, number: int) -> list[int]:
    """What a chat counts that is cut twice, and resumed through either server, on either wire."""
    body = COUNTING | {"stream": True}
    url = list(site.balancers.values())[number % 2]
    with site.client(KEYS[5]) as client:
        headers = {"Twowire-Resume-Grace": "60"}
        with client.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
            name, token = (answer.headers[f"Twowire-{what}"] for what in ("Completion-Id", "Resume-Token"))
            first, last = read_numbers(answer.iter_lines(), 20)
        again = f"{site.servers[number % 2].url}/v1/chat/completions/{name}/stream?starting_after={last}"
        with client.stream("GET", again, headers={"Twowire-Resume-Token": token}) as answer:
            assert answer.status_code == 200
            second, last = read_numbers(answer.iter_lines(), 60)
    uri = f"ws://127.0.0.1:{site.servers[1 - number % 2].port}/v1/chat/completions"
    key = {"Authorization": f"Bearer {KEYS[5]}"}
    with connect(uri, subprotocols=[Subprotocol("twowire.v1")], additional_headers=key, open_timeout=SOON_S) as socket:
        fields = {"id": name, "resume_token": token, "starting_after": last}
        socket.send(json.dumps({"type": "chat.completion.resume", "stream_id": "a", "event_id": "e", **fields}))
        third: list[int] = []
        while (frame := json.loads(socket.recv(SOON_S)))["type"] != "chat.completion.done":
            assert "error" not in frame, frame
            for choice in frame.get("data", {}).get("choices", []):
                third += map(int, (choice["delta"].get("content") or "").split())
    assert frame["status"] == "completed"
    assert frame["usage"]["completion_tokens"] == COUNTED
    return first + second + third


def test_chats_are_resumed_through_any_server_on_any_wire(site: Site) -> None:
    with ThreadPoolExecutor(8) as threads:
        for counted in threads.map(lambda number: cut_and_resumed(site, number), range(16)):
            assert counted == list(range(1, COUNTED + 1))


def test_a_chat_is_cancelled_by_its_id_through_any_server(site: Site) -> None:
    one, other = (server.url for server in site.servers)
    cancelled_elsewhere(one, other, KEYS[5], KEYS[3])
    site.servers[0].wait_idle(SOON_S)


def test_a_response_in_the_background_is_read_and_cancelled_through_any_server(site: Site) -> None:
    body = {"model": MODEL, "input": "hi", "max_output_tokens": 10**6, "background": True}
    one, other = (f"{server.url}/v1/responses" for server in site.servers)
    with site.client(KEYS[2]) as client:
        made = client.post(one, json=body).json()
        assert client.get(f"{other}/{made['id']}").json()["status"] in ("queued", "in_progress")
        with client.stream("GET", f"{other}/{made['id']}?stream=true") as answer:
            lines = answer.iter_lines()
            deltas = (line for line in lines if line == "event: response.output_text.delta")
            next(deltas)
            assert client.post(f"{other}/{made['id']}/cancel").json()["status"] == "cancelled"
            assert sum(line.startswith("event: ") for line in lines)
        assert client.get(f"{one}/{made['id']}").json()["status"] == "cancelled"
        assert client.delete(f"{other}/{made['id']}").json()["deleted"]
        assert client.get(f"{one}/{made['id']}?stream=true").status_code == 404
    site.servers[0].wait_idle(SOON_S)


def test_a_store_that_is_killed_and_comes_back_fails_no_request(site: Site) -> None:
    """Requests go on through both balancers all the time, fewer than are allowed; tickets are used while it is away."""
    one, other = (server.url for server in site.servers)
    failures = sum(server.metric("twowire_store_failures") for server in site.servers)
    statuses: list[int] = []
    has_changed, is_over = threading.Event(), threading.Event()

    def ask(url: str) -> None:
        with site.client(KEYS[4]) as client:
            while not is_over.wait(0.5):
                statuses.append(client.post(f"{url}/v1/chat/completions", json=CHAT).status_code)
                statuses.append(client.get(f"{url}/v1/models").status_code)
                has_changed.set()

    threads = [threading.Thread(target=ask, args=(url,)) for url in site.balancers.values()]
    for thread in threads:
        thread.start()
    try:
        assert has_changed.wait(SOON_S)
        site.redis.kill()
        site.wait_store(is_up=False)
        made = ticket(one, KEYS[1])
        assert shown(other, made) == 101
        site.redis.start()
        site.wait_store(is_up=True)
        made = ticket(one, KEYS[1])
        assert [shown(other, made), shown(one, made)] == [101, 401]
        has_changed.clear()
        assert has_changed.wait(SOON_S)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(SOON_S)
    assert set(statuses) == {200}
    assert sum(server.metric("twowire_store_failures") for server in site.servers) > failures


def test_probes_as_balancers_send_them_are_answered(site: Site) -> None:
    for server in site.servers:
        for probe in (b"GET /health HTTP/1.0\r\n\r\n", b"OPTIONS / HTTP/1.0\r\n\r\n", b"GET /livez HTTP/1.0\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=SOON_S) as connection:
                connection.sendall(probe)
                assert connection.recv(64).split(b" ", 2)[1] == b"200", probe
        kubelet = {"Host": f"10.1.2.3:{server.port}", "User-Agent": "kube-probe/1.34"}
        assert httpx.get(f"{server.url}/health", headers=kubelet, timeout=SOON_S).status_code == 200
