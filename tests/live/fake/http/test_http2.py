"""HTTP/2 over a real socket, with clients that do what clients do: none of hypercorn's defects there shows.

By prior knowledge; TLS makes no difference here. `FAKE_WITHOUT` with a fix's name shows what each test is for.
"""

from __future__ import annotations

import json

import psutil
import pytest

from app.hypercorn.http2 import MAX_DISCARDED_BYTES
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, Server

CHAT = "/v1/chat/completions"
MIB = 2**20
BODY_BYTES = 1 << 20
KEY = "a-key-of-the-tests"
AUTHORIZATION = [("authorization", f"Bearer {KEY}")]
CANCEL, INTERNAL_ERROR = 8, 2


def asked(tokens: int | None = None, **more: object) -> dict[str, object]:
    body: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    return body | ({} if tokens is None else {"max_tokens": tokens}) | more


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return ("--max-body-bytes", str(BODY_BYTES), "--public-metrics")


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    return {"FAKE_PACE_S": "0.001", "TWOWIRE_API_KEYS": KEY}


def start(client: Http2Client, tokens: int | None = None) -> int:
    """Begin a streamed chat, and read the beginning of its answer."""
    stream_id = client.open(CHAT, asked(tokens), headers=AUTHORIZATION)
    client.read_until(lambda: client.streams[stream_id].body, "the first chunk")
    return stream_id


def is_alive(client: Http2Client, stream_id: int) -> bool:
    """More of its answer comes."""
    stream = client.streams[stream_id]
    before = len(stream.body)
    client.read_until(lambda: len(stream.body) > before or stream.is_over, "more of the neighbour's answer")
    return not stream.is_over


# -- what is sent ----------------------------------------------------------------------------------------------------


def test_a_closed_window_holds_bounded_memory(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    with Http2Client(server.port, takes=False) as client:
        streams = [client.open(CHAT, asked(), headers=AUTHORIZATION) for _ in range(8)]
        # The connection's window is 64 KiB: what is made beyond that has to wait.
        client.read_until(lambda: sum(len(client.streams[one].body) for one in streams) == 65535, "the window's end")
        before = process.memory_info().rss
        made = server.metric("twowire_inter_token_seconds_count", wire="sse")

        def stands_still() -> bool:
            nonlocal made
            last, made = made, server.metric("twowire_inter_token_seconds_count", wire="sse")
            return made == last

        server.wait_until(stands_still, 10, "the server takes ever more from the engine")
        assert (process.memory_info().rss - before) / MIB < 8


def test_a_window_that_opens_again_goes_on_where_it_was(server: Server) -> None:
    with Http2Client(server.port, takes=False) as client:
        stream_id = client.open(CHAT, asked(2000), headers=AUTHORIZATION)
        stream = client.streams[stream_id]
        client.read_until(lambda: len(stream.body) == 65535, "the window's end")
        client.takes = True
        client.h2.increment_flow_control_window(2**20)
        client.h2.increment_flow_control_window(2**20, stream_id)
        client.flush()
        assert client.finish(stream_id).body.endswith(b"data: [DONE]\n\n")
        text = "".join(
            part.split('"', 1)[0].encode().decode("unicode_escape")
            for part in stream.body.decode().split('"content":"')[1:]
        )
        assert text.split() == [str(number) for number in range(2000)]


def test_a_cancelled_answer_does_not_garble_the_next(server: Server) -> None:
    with Http2Client(server.port, window=2**30, receive_buffer=4096) as client:
        client.h2.increment_flow_control_window(2**30)
        client.flush()
        # Enough streams to fill the socket, which nobody reads: the server stands in a send.
        for _ in range(32):
            client.open(CHAT, asked(), headers=AUTHORIZATION)
        made = [-1.0, 0.0]

        def stands_still() -> bool:
            made.append(server.metric("twowire_inter_token_seconds_count", wire="sse"))
            return made[-1] == made[-2]

        server.wait_until(stands_still, 20, "the socket is full")
        # What the server makes of these headers is in no request before them.
        doomed = [client.open("/livez", method="GET", headers=[("x-request-id", f"doomed-{n}")]) for n in range(8)]
        for stream_id in doomed:
            client.reset(stream_id)
        last = client.open("/livez", method="GET", headers=[("x-request-id", "the-last")])
        assert client.finish(last).headers["x-request-id"] == "the-last"


# -- what ends -------------------------------------------------------------------------------------------------------


def test_a_reset_ends_that_generation_only(server: Server) -> None:
    cancelled = server.metric("twowire_generations_total", outcome="cancelled")
    with Http2Client(server.port) as client:
        neighbour, doomed = start(client), start(client)
        assert server.metric("twowire_open_streams", wire="sse") == 2
        client.reset(doomed)
        server.wait_until(lambda: server.metric("twowire_open_streams", wire="sse") == 1, 2, "the reset went unseen")
        assert server.metric("twowire_generations_total", outcome="cancelled") == cancelled + 1
        assert is_alive(client, neighbour)


def test_a_reset_frees_an_answer_that_waits_for_its_window(server: Server) -> None:
    with Http2Client(server.port, takes=False) as client:
        doomed = client.open(CHAT, asked(), headers=AUTHORIZATION)
        client.read_until(lambda: len(client.streams[doomed].body) == 65535, "the window's end")
        client.reset(doomed)
        server.wait_until(lambda: not server.metric("twowire_sequences_in_engine"), 2, "it still runs")


def test_a_connection_that_ends_frees_all_its_streams(server: Server) -> None:
    with Http2Client(server.port) as client:
        for _ in range(8):
            start(client)
    server.wait_until(lambda: not server.metric("twowire_sequences_in_engine"), 2, "they still run")


# -- answers that come before the request's end ----------------------------------------------------------------------


@pytest.mark.parametrize("headers", [[], AUTHORIZATION], ids=["401", "413"])
def test_an_early_answer_leaves_the_neighbours_alone(
    server: Server, headers: list[tuple[str, str]], request: pytest.FixtureRequest
) -> None:
    with Http2Client(server.port) as client:
        neighbour = start(client)
        length = ("content-length", str(4 * BODY_BYTES))
        early = client.open(CHAT, b"{", headers=[*headers, length], ends=False)
        answer = client.streams[early]
        client.read_until(lambda: answer.has_ended, "the answer, before the body has come")
        assert str(answer.status) in request.node.callspec.id
        client.send(early, b" " * (4 * BODY_BYTES - 1), ends=True)
        assert answer.reset is None
        assert is_alive(client, neighbour)
        assert client.ask("/livez").status == 200


def test_a_body_without_end_after_its_answer_is_stopped(server: Server) -> None:
    with Http2Client(server.port) as client:
        neighbour = start(client)
        early = client.open(CHAT, b"{", ends=False)
        answer = client.streams[early]
        sent = 0
        while answer.reset is None and sent <= MAX_DISCARDED_BYTES + 2 * MIB:
            room = min(client.h2.local_flow_control_window(early), client.h2.max_outbound_frame_size)
            if room:
                client.h2.send_data(early, bytes(room))
                client.flush()
                sent += room
            else:
                client._read()
        assert (answer.status, answer.reset) == (401, 0)
        assert is_alive(client, neighbour)


# -- requests that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", CHAT)], 501),
        ([(":method", "CONNECT")], 501),
        ([(":method", "GET"), (":scheme", "http"), (":path", "/\xff")], 400),
        ([(":method", "GET\xff"), (":scheme", "http"), (":path", "/livez")], 400),
        ([(":method", "GET"), (":scheme", "http"), (":path", "?x")], 400),
    ],
    ids=["websocket", "connect", "path", "method", "no-slash"],
)
def test_an_odd_request_is_refused_and_leaves_the_neighbours_alone(
    server: Server, headers: list[tuple[str, str]], status: int
) -> None:
    with Http2Client(server.port) as client:
        neighbour = start(client)
        odd = client.h2.get_next_available_stream_id()
        client.streams[odd] = type(client.streams[neighbour])()
        client.h2.send_headers(odd, [*headers, (":authority", "localhost")], end_stream=False)
        client.flush()
        answer = client.finish(odd)
        code = "not_implemented" if status == 501 else "malformed_request"
        assert (answer.status, json.loads(bytes(answer.body))["error"]["code"]) == (status, code)
        assert is_alive(client, neighbour)


def test_websockets_are_not_offered(server: Server) -> None:
    with Http2Client(server.port) as client:
        assert client.h2.remote_settings.enable_connect_protocol == 0


def test_priorities_of_many_streams_do_no_harm(server: Server) -> None:
    with Http2Client(server.port) as client:
        neighbour = start(client)
        for number in range(400):
            client.h2.prioritize(1_000_001 + 2 * number, weight=1 + number % 256, depends_on=0)
        client.flush()
        client.ping()
        assert is_alive(client, neighbour)


# -- many requests ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_thousands_of_requests_on_one_connection(server: Server) -> None:
    with Http2Client(server.port) as client:
        neighbour = start(client)
        for _ in range(60):
            batch = [client.open("/livez", method="GET") for _ in range(50)]
            assert all(client.finish(stream_id).status == 200 for stream_id in batch)
        assert not client.went_away
        assert is_alive(client, neighbour)
