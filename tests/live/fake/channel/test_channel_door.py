"""Who may open a channel: Origin, key or ticket, subprotocol, room. Real sockets, an engine that counts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.security.tickets import LIFETIME_S
from tests.live.clients.abuse import (
    BEARER,
    BODY,
    CREATE,
    KEY,
    OTHER_BEARER,
    OTHER_KEY,
    PAGE,
)
from tests.live.clients.raw import RawClient, answer_of
from tests.live.clients.raw_websocket import PATH, RawWebSocket, frame, handshake
from tests.live.servers.server import Server


def refusal(port: int, *headers: str, **options: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and error object of a handshake that is refused."""
    with RawClient(port) as client:
        client.send(handshake(*headers, **options))
        head = client.read_until(b"\r\n\r\n")
        size = int(answer_of(head)[1]["content-length"])
        start = head.index(b"\r\n\r\n") + 4
        while len(client.received) < start + size:
            raw = client._socket.recv(65536)
            assert raw
            client.received += raw
        status, found, raw = answer_of(bytes(client.received))
    error = httpx.Response(status, content=raw).json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    return status, found, error


def ticket(server: Server, key: str = KEY, origin: str | None = PAGE) -> str:
    headers = {"Authorization": f"Bearer {key}"} | ({} if origin is None else {"Origin": origin})
    answer = httpx.post(f"{server.url}/v1/ws/tickets", headers=headers).json()
    assert answer["expires_in"] == LIFETIME_S
    return str(answer["subprotocol"])


GOOD_KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
GOOD_VERSION = "Sec-WebSocket-Version: 13"


def changed(old: str, *new: str) -> bytes:
    """A good handshake with one of its lines replaced."""
    raw = handshake(BEARER)
    assert old.encode() + b"\r\n" in raw
    return raw.replace(old.encode() + b"\r\n", "".join(f"{line}\r\n" for line in new).encode("latin-1"))


def refused(port: int, raw: bytes) -> tuple[int, dict[str, str], str]:
    """Status, headers and code of a refusal after which the server has closed the connection."""
    with RawClient(port) as client:
        client.send(raw)
        status, headers, body = answer_of(client.read_to_end(limit_s=5))
    assert "close" in headers["connection"]
    return status, headers, str(httpx.Response(status, content=body).json()["error"]["code"])


WRONG_HANDSHAKES: dict[str, bytes] = {
    "no key": changed(GOOD_KEY),
    "an empty key": changed(GOOD_KEY, "Sec-WebSocket-Key:"),
    "a short key": changed(GOOD_KEY, "Sec-WebSocket-Key: x"),
    "a key without padding": changed(GOOD_KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"),
    "a key of 15 bytes": changed(GOOD_KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"),
    "a key of 18 bytes": changed(GOOD_KEY, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA"),
    "a key that is not base64": changed(GOOD_KEY, "Sec-WebSocket-Key: !!!hIHNhbXBsZSBub25jZQ=="),
    "a key that is not ASCII": changed(GOOD_KEY, "Sec-WebSocket-Key: \xff\xff\xff"),
    "two keys": changed(GOOD_KEY, GOOD_KEY, GOOD_KEY),
    "a body": changed(GOOD_VERSION, GOOD_VERSION, "Content-Length: 5"),
    "a body in chunks": changed(GOOD_VERSION, GOOD_VERSION, "Transfer-Encoding: chunked"),
    "HTTP/1.0": handshake(BEARER).replace(b"HTTP/1.1", b"HTTP/1.0"),
}
OTHER_HANDSHAKES: dict[str, bytes] = {
    "one of two tokens": changed("Connection: Upgrade", "Connection: keep-alive, upgrade"),
    "two headers": changed("Connection: Upgrade", "Connection: Upgrade", "Connection: keep-alive"),
    "capitals": changed("Upgrade: websocket", "Upgrade: WebSocket"),
    "an empty body": changed(GOOD_VERSION, GOOD_VERSION, "Content-Length: 0"),
    "two offers": changed(
        GOOD_VERSION, GOOD_VERSION, "Sec-WebSocket-Protocol: twowire.v1", "Sec-WebSocket-Protocol: x"
    ),
}


def test_a_malformed_handshake_is_a_400(server: Server, subtests: pytest.Subtests) -> None:
    for name, raw in WRONG_HANDSHAKES.items():
        with subtests.test(name):
            status, _, code = refused(server.port, raw)
            assert (status, code) == (400, "invalid_handshake")


def test_another_version_is_a_426_that_names_ours(server: Server, subtests: pytest.Subtests) -> None:
    for version in (None, "", "8", "14", "13, 8", "x"):
        with subtests.test(version=version):
            lines = [] if version is None else [f"Sec-WebSocket-Version: {version}"]
            status, headers, code = refused(server.port, changed(GOOD_VERSION, *lines))
            assert (status, code) == (426, "unsupported_websocket_version")
            assert (headers["sec-websocket-version"], headers["upgrade"]) == ("13", "websocket")


def test_a_handshake_may_be_written_in_other_ways(server: Server, subtests: pytest.Subtests) -> None:
    for name, raw in OTHER_HANDSHAKES.items():
        with subtests.test(name), RawClient(server.port) as client:
            client.send(raw)
            assert int(client.read_until(b"\r\n\r\n").split()[1]) == 101
            client.read_until(b"connection.ready")


def test_what_comes_with_the_handshake_is_served_after_it(server: Server) -> None:
    with RawClient(server.port) as client:
        pings = [frame({"type": "ping", "t": number}) for number in range(5)]
        client.send(handshake(BEARER) + b"".join(pings[:3]))
        client.send(b"".join(pings[3:]))
        received = client.read_until(b'"pong"', count=5)
    assert received.startswith(b"HTTP/1.1 101 ")
    assert received.index(b"connection.ready") < received.index(b'"pong"')


def test_what_comes_with_a_handshake_that_is_refused_is_dropped(server: Server) -> None:
    smuggled = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for raw in (handshake(), handshake(BEARER, path="/nowhere"), changed(GOOD_KEY, "X: y")):
        with RawClient(server.port) as client:
            client.send(raw + smuggled)
            assert client.read_to_end(limit_s=5).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://chat.example.com", 403),
        ("https://chat.example.com.evil.example", 403),
        ("https://chat.example.com:99999", 403),
        (PAGE, 101),
        (PAGE + ":443", 101),
        ("http://localhost:{port}", 101),
        ("http://localhost:1", 403),
    ],
)
def test_only_pages_of_allowed_origins_may_enter(server: Server, origin: str, status: int) -> None:
    origin, host = origin.format(port=server.port), f"localhost:{server.port}"
    with RawClient(server.port) as client:
        client.send(handshake(BEARER, f"Origin: {origin}", host=host))
        head = client.read_until(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    if status == 403:
        found = refusal(server.port, BEARER, f"Origin: {origin}", host=host)
        assert (found[0], found[2]["code"]) == (403, "forbidden_origin")


@pytest.mark.parametrize(
    "headers", [(), ("Authorization: Bearer wrong",), ("Authorization: Bearer",), (BEARER, OTHER_BEARER)]
)
def test_without_a_right_key_it_is_a_401(server: Server, headers: tuple[str, ...]) -> None:
    status, found, error = refusal(server.port, *headers)
    assert (status, error["code"]) == (401, "invalid_api_key")
    assert found["www-authenticate"] == "Bearer"


def test_no_key_travels_in_a_url(server: Server) -> None:
    for query in (f"?api_key={KEY}", f"?ticket={ticket(server)}", f"?access_token={KEY}"):
        assert refusal(server.port, path=PATH + query)[0] == 401


def test_the_origin_is_checked_before_the_key(server: Server) -> None:
    assert refusal(server.port, "Origin: https://evil.example")[0] == 403


def test_a_ticket_opens_one_socket_and_is_not_echoed(server: Server) -> None:
    offer = f"Sec-WebSocket-Protocol: twowire.v1, {ticket(server)}"
    with RawWebSocket(server.port, offer, f"Origin: {PAGE}") as ws:
        assert ws.status == 101
        assert "sec-websocket-protocol: twowire.v1\r\n" in ws.head.lower()
        assert "ticket" not in ws.head
        ws.wait_for("connection.ready")
    assert refusal(server.port, offer, f"Origin: {PAGE}")[0] == 401


def test_a_ticket_of_another_page_or_of_none_is_refused(server: Server) -> None:
    own = f"http://localhost:{server.port}"
    for issued, shown in ((PAGE, own), (None, PAGE), (PAGE, None)):
        headers = [f"Sec-WebSocket-Protocol: twowire.v1, {ticket(server, origin=issued)}"]
        headers += [] if shown is None else [f"Origin: {shown}"]
        assert refusal(server.port, *headers, host=f"localhost:{server.port}")[0] == 401


def test_a_ticket_alone_is_no_subprotocol(server: Server) -> None:
    status, _, error = refusal(server.port, f"Sec-WebSocket-Protocol: {ticket(server)}", f"Origin: {PAGE}")
    assert (status, error["code"]) == (400, "unknown_subprotocol")


def test_a_ticket_does_not_save_a_wrong_key(server: Server) -> None:
    offer = f"Sec-WebSocket-Protocol: twowire.v1, {ticket(server)}"
    assert refusal(server.port, offer, f"Origin: {PAGE}", "Authorization: Bearer wrong")[0] == 401


def test_what_a_ticket_opened_belongs_to_its_key(server: Server) -> None:
    with RawWebSocket(server.port, f"Sec-WebSocket-Protocol: twowire.v1, {ticket(server)}", f"Origin: {PAGE}") as ws:
        ws.say({"type": CREATE, "stream_id": "a", "body": BODY})
        id_ = ws.wait_for("chat.completion.created")["id"]
        for key, status in ((OTHER_KEY, 404), (KEY, 200)):
            answer = httpx.delete(f"{server.url}{PATH}/{id_}", headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == status
        assert ws.wait_for("chat.completion.done")["status"] == "cancelled"


def test_only_unknown_subprotocols_are_refused(server: Server) -> None:
    status, _, error = refusal(server.port, BEARER, "Sec-WebSocket-Protocol: graphql-ws, twowire.v2")
    assert (status, error["code"]) == (400, "unknown_subprotocol")
    assert "twowire.v1" in error["message"]
    for offer, echoed in (("", False), ("Sec-WebSocket-Protocol: twowire.v2, twowire.v1", True)):
        with RawWebSocket(server.port, BEARER, *filter(None, [offer])) as ws:
            assert (ws.status, "twowire.v1" in ws.head) == (101, echoed)


def test_connections_beyond_the_limit_are_told_when_to_come_back(server: Server) -> None:
    sockets = [RawWebSocket(server.port, BEARER) for _ in range(8)]
    try:
        assert {ws.status for ws in sockets} == {101}
        status, headers, error = refusal(server.port, BEARER)
        assert (status, error["code"]) == (503, "too_many_connections")
        assert int(headers["retry-after"]) > 0
    finally:
        for ws in sockets:
            ws.leave("close")
    server.wait_until(lambda: server.metric("twowire_websockets") == 1, 5, "the places are free again")
    with RawWebSocket(server.port, BEARER) as ws:
        assert ws.status == 101


def test_a_handshake_in_single_bytes_holds_nobody_up(server: Server) -> None:
    raw = handshake(BEARER)
    with RawClient(server.port) as slow:
        for at in range(len(raw)):
            slow.send(raw[at : at + 1])
            if at % 50 == 0:
                with RawWebSocket(server.port, BEARER) as quick:
                    quick.wait_for("connection.ready", limit_s=5)
        assert slow.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")


def test_a_handshake_that_never_ends_leaves_nothing(server: Server) -> None:
    with RawClient(server.port) as client:
        client.send(handshake(BEARER)[:-2])
        client.leave("reset")
