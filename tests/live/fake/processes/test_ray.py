"""Two replicas of the counting engine on Ray Serve, behind Ray's own web server, a real Redis behind them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from app.generation.replay.elsewhere import whereabouts_of
from tests.live.clients.moving_chats import MovingChat
from tests.live.servers.programs import ray_packages, redis_server
from tests.live.servers.programs.ray_cluster import RayCluster, ray_cluster
from tests.live.servers.server import MODEL, pause

KEY = "key-of-ray-0123456789"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PATH = "/v1/chat/completions"
SOON_S = 120.0
STREAMS = 64
COUNTED = 40
ENDLESS = 10**6
ASKED_AT_ONCE = 16
"""So many requests that both replicas get some."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    if not ray_packages.is_installed():
        pytest.skip(ray_packages.MISSING)
    if redis_server.PROGRAM is None:
        pytest.skip(redis_server.MISSING)
    with redis_server.redis_server(tmp_path_factory.mktemp("redis")) as redis:
        env = {"FAKE_PACE_S": "0.01", "TWOWIRE_RELAY_SECRET": "a-secret-of-both-replicas", "TWOWIRE_API_KEYS": KEY}
        flags = ["--store", redis.url, "--store-timeout-s", "30", "--no-embeddings", "--public-metrics"]
        with ray_cluster("counting", *flags, "--drain-timeout-s", "5", env=env) as found:
            yield found


def sdk(cluster: RayCluster) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{cluster.url}/v1", api_key=KEY, max_retries=0, timeout=SOON_S)


def socket_of(cluster: RayCluster) -> ClientConnection:
    url = cluster.url.replace("http://", "ws://") + PATH
    return connect(url, subprotocols=[Subprotocol("twowire.v1")], additional_headers=HEADERS, open_timeout=SOON_S)


def body(counted: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"Count from 1 to {counted}"}]}


def server_of(answer_id: str) -> str:
    place = whereabouts_of(answer_id)
    assert place is not None
    return place.server


def wait_until(condition: Callable[[], bool], what: str) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < SOON_S, what
        pause(started)


def in_engines(cluster: RayCluster) -> float:
    """The most sequences that any replica has."""
    url = f"{cluster.url}/metrics"
    # At once: Ray gives each request to the less loaded of two replicas.
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        answers = threads.map(lambda _: httpx.get(url, timeout=SOON_S).text, range(ASKED_AT_ONCE))
    families = [family for text in answers for family in text_string_to_metric_families(text)]
    return max(
        sample.value for family in families if family.name == "twowire_sequences_in_engine" for sample in family.samples
    )


def test_openais_sdk_gets_whole_and_streamed_answers(cluster: RayCluster) -> None:
    messages = body(COUNTED)["messages"]
    with sdk(cluster) as client:
        whole = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
        content = whole.parse().choices[0].message.content
        assert content is not None
        assert [int(word) for word in content.split()] == list(range(1, COUNTED + 1))
        assert len(whole.headers.get_list("x-request-id")) == 1
        streamed = client.chat.completions.create(model=MODEL, messages=messages, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == content
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="another", messages=messages)


async def test_64_streams_run_at_once_on_both_replicas(cluster: RayCluster) -> None:
    """Each waits until all have begun."""
    begun, all_begun = [], asyncio.Event()
    async with httpx.AsyncClient(headers=HEADERS, timeout=SOON_S, limits=httpx.Limits(max_connections=None)) as client:

        async def stream() -> tuple[str, int, bool]:
            name, tokens, is_done = "", 0, False
            asked = body(400) | {"stream": True}
            async with client.stream("POST", cluster.url + PATH, json=asked) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    is_done = line == "data: [DONE]" or is_done
                    if not line.startswith("data: {"):
                        continue
                    chunk = json.loads(line.removeprefix("data: "))
                    if not name:
                        name = chunk["id"]
                        begun.append(name)
                        if len(begun) == STREAMS:
                            all_begun.set()
                        await all_begun.wait()
                    tokens += len((chunk["choices"][0]["delta"].get("content") or "").split())
            return server_of(name), tokens, is_done

        streams = [asyncio.create_task(stream()) for _ in range(STREAMS)]
        async with asyncio.timeout(SOON_S):
            ends = await asyncio.gather(*streams)
    assert {tokens for _, tokens, _ in ends} == {400}
    assert all(is_done for _, _, is_done in ends)
    assert len({server for server, _, _ in ends}) == 2


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_client_that_leaves_frees_its_slot(cluster: RayCluster, is_streamed: bool) -> None:
    name = f"leaves-{is_streamed}"
    asked = body(ENDLESS) | {"stream": is_streamed}
    async with httpx.AsyncClient(headers=HEADERS | {"X-Request-ID": name}, timeout=SOON_S) as client:
        asking = asyncio.create_task(client.post(cluster.url + PATH, json=asked))
        await asyncio.to_thread(wait_until, lambda: in_engines(cluster) == 1, "it has begun")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    def is_over() -> bool:
        """The log says so when the generation is closed."""
        return any(name in line and '"cancelled"' in line for line in cluster.log)

    await asyncio.to_thread(wait_until, is_over, "the slot is free")


def test_a_chat_that_is_cut_is_resumed_on_a_socket_of_the_other_replica(cluster: RayCluster) -> None:
    with httpx.Client(timeout=SOON_S) as client:
        chat = MovingChat(KEY, 300, client)
        chat.read_http(cluster.url, until=20)
    home = server_of(chat.id)
    for _ in range(50):
        with socket_of(cluster) as channel:
            here = {"type": "chat.completion.create", "body": body(1), "stream_id": "here", "event_id": "e"}
            channel.send(json.dumps(here))
            while (frame := json.loads(channel.recv(SOON_S)))["type"] != "chat.completion.created":
                pass
            if server_of(frame["id"]) == home:
                continue
            own = {"id": chat.id, "resume_token": chat.token, "starting_after": chat.last}
            channel.send(json.dumps({"type": "chat.completion.resume", "stream_id": "a", "event_id": "f"} | own))
            while (frame := json.loads(channel.recv(SOON_S)))["type"] != "chat.completion.done" or (
                frame["stream_id"] != "a"
            ):
                assert "error" not in frame, frame
                if frame["type"] == "chat.completion.chunk" and frame["stream_id"] == "a":
                    chat._take(frame["data"])
            assert frame["status"] == "completed"
            assert chat.is_whole
            return
    pytest.fail("Ray gave all sockets to one replica")


def test_the_clients_of_a_killed_replica_see_that_it_broke_and_another_takes_its_place(cluster: RayCluster) -> None:
    """On both wires: a stream without its end, a socket without a close frame. The other replica's run on."""
    victim, other = cluster.replicas()
    with httpx.Client(headers=HEADERS, timeout=SOON_S) as client, ThreadPoolExecutor(32) as threads:
        begun: list[str] = []

        def streamed() -> tuple[str, str]:
            name, last = "", ""
            try:
                with client.stream("POST", cluster.url + PATH, json=body(1000) | {"stream": True}) as answer:
                    for line in filter(None, answer.iter_lines()):
                        if not name:
                            name = json.loads(line.removeprefix("data: "))["id"]
                            begun.append(name)
                        last = line
            except httpx.TransportError:
                return server_of(name), "broken"
            return server_of(name), "done" if last == "data: [DONE]" else last

        def framed() -> tuple[str, str]:
            name = ""
            with socket_of(cluster) as channel:
                asked = {"type": "chat.completion.create", "body": body(1000), "stream_id": "a", "event_id": "e"}
                channel.send(json.dumps(asked))
                try:
                    while (frame := json.loads(channel.recv(SOON_S)))["type"] != "chat.completion.done":
                        if frame["type"] == "chat.completion.created":
                            name = frame["id"]
                            begun.append(name)
                except ConnectionClosed as closed:
                    # A code would be the server's own word.
                    return server_of(name), "broken" if closed.rcvd is None else str(closed.rcvd)
                return server_of(name), "done"

        streams = [threads.submit(kind) for kind in [streamed, framed] * 12]
        wait_until(lambda: len(begun) == len(streams), "all have begun")
        victim.kill()
        ends = [stream.result(SOON_S) for stream in streams]
    by_server: dict[str, set[str]] = {}
    for server, end in ends:
        by_server.setdefault(server, set()).add(end)
    assert sorted(by_server.values(), key=str) == [{"broken"}, {"done"}], by_server
    wait_until(lambda: len(cluster.replicas()) == 2 and victim.pid not in _ids(cluster), "there are two again")
    with sdk(cluster) as openai_client:
        served: set[str] = set()

        def both_serve() -> bool:
            answer = openai_client.chat.completions.create(**body(1))
            served.add(server_of(answer.id))
            return len(served) == 2

        wait_until(both_serve, "the new one serves")
    assert other.pid in _ids(cluster)


def _ids(cluster: RayCluster) -> set[int]:
    return {process.pid for process in cluster.replicas()}
