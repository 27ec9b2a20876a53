"""Two servers with two API servers each behind the real nginx, HAProxy and Caddy, a real Redis behind them."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import Any

import httpx
import pytest

from tests.live.clients.elsewhere import cancelled_elsewhere
from tests.live.clients.moving_chats import MovingChat, moved
from tests.live.clients.tickets import shown, ticket
from tests.live.servers.programs.site import Site, missing, site_in
from tests.live.servers.server import MODEL

KEYS = [f"key-number-{number}-0123456789" for number in range(6)]
CHAT_KEYS = [f"key-of-chats-{number}-0123456789" for number in range(32)]
PER_MINUTE = 120
SOON_S = 60.0
COUNTED = 60
CHATS = 96
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


def client_with(key: str) -> httpx.Client:
    return httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=SOON_S)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    keys = [*KEYS, *CHAT_KEYS]
    with site_in(tmp_path_factory.mktemp("site"), keys, per_minute=PER_MINUTE, pace_s=0.002) as found:
        yield found


def test_a_limit_holds_over_all_servers(site: Site) -> None:
    """Asked through both balancers at once, by more requests than are allowed."""
    urls = list(site.balancers.values())
    started = time.monotonic()
    with client_with(KEYS[0]) as client, ThreadPoolExecutor(8) as threads:
        made = range(2 * PER_MINUTE)

        def post(number: int) -> int:
            return client.post(f"{urls[number % len(urls)]}/v1/chat/completions", json=CHAT).status_code

        statuses = list(threads.map(post, made))
    refilled = (time.monotonic() - started) * PER_MINUTE / 60
    assert set(statuses) == {200, 429}
    granted = statuses.count(200)
    assert PER_MINUTE <= granted <= 1.05 * PER_MINUTE + refilled
    counts = [server.metric("twowire_generations_total") for server in site.servers]
    assert min(counts) > 0.3 * granted, f"one server had nearly all of them: {counts}"


@pytest.mark.parametrize("balancer", ["nginx", "haproxy", "caddy"])
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
    with client_with(KEYS[2]) as client, client_with(KEYS[3]) as stranger:
        first = client.post(one, json={"model": MODEL, "input": "hi", "max_output_tokens": 2}).json()
        assert client.get(f"{other}/{first['id']}").json() == first
        assert stranger.get(f"{other}/{first['id']}").status_code == 404
        asked: dict[str, Any] = {"model": MODEL, "input": "more", "max_output_tokens": 2}
        second = client.post(other, json=asked | {"previous_response_id": first["id"]}).json()
        assert (second["status"], second["previous_response_id"]) == ("incomplete", first["id"])
        assert len(client.get(f"{one}/{second['id']}/input_items").json()["data"]) == 1
        assert client.delete(f"{other}/{first['id']}").json()["deleted"]
        assert client.get(f"{one}/{first['id']}").status_code == 404


def test_a_chat_is_cancelled_by_its_id_through_any_server(site: Site) -> None:
    one, other = (server.url for server in site.servers)
    cancelled_elsewhere(one, other, KEYS[5], KEYS[3])
    site.servers[0].wait_idle(SOON_S)


def test_a_response_in_the_background_is_read_and_cancelled_through_any_server(site: Site) -> None:
    body = {"model": MODEL, "input": "hi", "max_output_tokens": 10**6, "background": True}
    one, other = (f"{server.url}/v1/responses" for server in site.servers)
    with client_with(KEYS[2]) as client:
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


def test_chats_move_between_servers_and_wires_while_the_store_dies_and_comes_back(site: Site) -> None:
    """The store is killed after a third of them, and started after two thirds, empty."""
    rng = random.Random(7)
    servers, beginnings = [server.url for server in site.servers], list(site.balancers.values())
    failures = sum(server.metric("twowire_store_failures") for server in site.servers)
    with httpx.Client(timeout=SOON_S) as http, ThreadPoolExecutor(8) as threads:

        def move(number: int) -> MovingChat:
            chat = MovingChat(CHAT_KEYS[number % len(CHAT_KEYS)], COUNTED, http)
            return moved(chat, beginnings, servers, random.Random(seeds[number]))

        seeds = [rng.random() for _ in range(CHATS)]
        third = CHATS // 3
        for number, chat in enumerate(threads.map(move, range(CHATS))):
            assert chat.is_whole, (number, chat)
            if number == third:
                site.redis.kill()
            elif number == 2 * third:
                site.redis.start()
    site.wait_store(is_up=True)
    assert sum(server.metric("twowire_store_failures") for server in site.servers) > failures


def test_a_store_that_is_killed_and_comes_back_fails_no_request(site: Site) -> None:
    """Requests go on through both balancers all the time, fewer than are allowed; tickets are used while it is away."""
    one, other = (server.url for server in site.servers)
    failures = sum(server.metric("twowire_store_failures") for server in site.servers)
    statuses: list[int] = []
    has_changed, is_over = threading.Event(), threading.Event()

    def ask(url: str) -> None:
        with client_with(KEYS[4]) as client:
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


def test_a_server_that_dies_ends_its_chats_with_an_error_and_the_others_go_on(site: Site) -> None:
    """The last test here: the site has one server less after it."""
    dying, left = site.servers
    endless = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10**6, "stream": True}
    path = "/v1/chat/completions"
    with client_with(KEYS[5]) as client, ExitStack() as stack:

        def begun(url: str, **headers: str) -> tuple[httpx.Response, Iterator[str]]:
            asked = client.build_request("POST", url + path, json=endless, headers=headers)
            answer = client.send(asked, stream=True)
            stack.callback(answer.close)
            lines = answer.iter_lines()
            next(line for line in lines if line.startswith("data: "))
            return answer, lines

        def read_through(url: str, answer: httpx.Response) -> Iterator[str]:
            again = f"{url}{path}/{answer.headers['Twowire-Completion-Id']}/stream"
            token = {"Twowire-Resume-Token": answer.headers["Twowire-Resume-Token"]}
            through = client.send(client.build_request("GET", again, headers=token), stream=True)
            stack.callback(through.close)
            assert through.status_code == 200
            lines = through.iter_lines()
            next(line for line in lines if line.startswith("data: "))
            return lines

        lost, _ = begun(dying.url, **{"Twowire-Resume-Grace": "60"})
        relayed = read_through(left.url, lost)
        _, direct = begun(dying.url)
        _, other = begun(left.url)
        site.kill(dying)
        errors = [line for line in relayed if '"error"' in line]
        assert len(errors) == 1
        assert '"code":"engine_died"' in errors[0]
        with pytest.raises(httpx.TransportError):
            list(direct)
        again = f"{left.url}{path}/{lost.headers['Twowire-Completion-Id']}/stream"
        token = {"Twowire-Resume-Token": lost.headers["Twowire-Resume-Token"]}
        assert client.get(again, headers=token).json()["error"]["code"] == "completion_not_found"

        def served(name: str) -> bool:
            url = site.balancers[name] + path
            return [client.post(url, json=CHAT).status_code for _ in range(8)] == [200] * 8

        assert served("nginx")
        assert served("haproxy")
        # Caddy 2.6 cannot send a body again, so it has to notice first.
        left.wait_until(lambda: served("caddy"), SOON_S, "Caddy goes on asking the dead one")
        assert sum(line.startswith("data: ") for line in islice(other, 100)) > 10
    left.wait_idle(SOON_S)
