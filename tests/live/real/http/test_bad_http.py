"""Bytes, headers and paths that have taken down servers of this kind: refused, and unnoticed by others."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import orjson
import pytest

from tests.live.clients.bad import BASE, CHAT, COMPLETION, Neighbour, Refusal, error_of, neighbour
from tests.live.clients.raw import RawClient, answer_of, request_bytes
from tests.live.servers.server import Server

__all__ = ["neighbour"]  # a fixture

GOOD = orjson.dumps(BASE[CHAT])
JSON = {"Content-Type": "application/json"}
CHUNKED = "Transfer-Encoding: chunked\r\n"


def with_field(raw: bytes) -> bytes:
    """The good request with one more field, written as no JSON library would."""
    return GOOD[:-1] + b"," + raw + b"}"


BODIES = {
    "empty": b"",
    "blank": b" \n\t ",
    "a list": b"[]",
    "a string": b'"hi"',
    "null": b"null",
    "truncated": GOOD[:-9],
    "cut in a string": GOOD[:-30],
    "trailing bytes": GOOD + b"{}",
    "a trailing comma": GOOD[:-1] + b",}",
    "two equal keys": with_field(b'"max_tokens":5'),
    "two equal keys inside": with_field(b'"metadata":{"a":"1","a":"2"}'),
    "a lone surrogate": with_field(b'"user":"\\ud800"'),
    "a raw NUL": with_field(b'"user":"a\0b"'),
    "not UTF-8": with_field(b'"user":"\xff\xfe"'),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "NaN": with_field(b'"temperature":NaN'),
    "Infinity": with_field(b'"temperature":Infinity'),
    "minus Infinity": with_field(b'"top_p":-Infinity'),
    "beyond a double": with_field(b'"temperature":1e400'),
    "lists 100,000 deep": with_field(b'"metadata":' + b"[" * 100_000 + b"]" * 100_000),
    "objects 100,000 deep": with_field(b'"metadata":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "lists without end": b"[" * 1_000_000,
    "a number of a million digits": with_field(b'"seed":' + b"9" * 1_000_000 + b"."),
    "a form": b"model=guide&prompt=hi",
    "8 MiB of spaces": b" " * (8 << 20),
}


def posted(server: Server, body: bytes, **headers: str) -> Refusal:
    """How `body` is refused as a chat, which must be as it is refused as a completion."""
    given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    chat, completion = (
        httpx.post(f"{server.url}{path}", content=body, headers=given, timeout=60) for path in (CHAT, COMPLETION)
    )
    error = error_of(chat)
    assert error_of(completion) == error
    return chat.status_code, str(error["code"]), error["param"]


def test_what_is_not_a_json_object_is_refused(server: Server, neighbour: Neighbour, subtests: pytest.Subtests) -> None:
    for name, body in BODIES.items():
        with subtests.test(name):
            assert posted(server, body) == (400, "invalid_json", None)
    assert neighbour.longest_gap_s < 3, "others stood still meanwhile"


def test_bodies_that_are_not_plain_json_are_refused(server: Server, subtests: pytest.Subtests) -> None:
    for headers in (
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data; boundary=x"},
        {"Content_Type": "application/json; charset=utf-16"},
        {"Content_Type": "application/json; charset=latin-1"},
        {"Content_Encoding": "gzip"},
        {"Content_Encoding": "br"},
    ):
        with subtests.test(**headers):
            body = gzip.compress(GOOD) if "Content_Encoding" in headers else GOOD
            assert posted(server, body, **headers) == (415, "unsupported_media_type", None)
    with subtests.test("gzip that does not say so"):
        assert posted(server, gzip.compress(GOOD)) == (400, "invalid_json", None)


def test_the_largest_body_is_read_and_a_larger_one_refused(server: Server, neighbour: Neighbour) -> None:
    limit = 16 << 20
    assert posted(server, b" " * limit) == (400, "invalid_json", None)
    padded = httpx.post(f"{server.url}{CHAT}", content=GOOD.ljust(limit), headers=JSON, timeout=60)
    assert padded.status_code == 200
    assert posted(server, b" " * (limit + 1)) == (413, "request_too_large", None)

    def chunks() -> Iterator[bytes]:  # Without a length, so that only the bytes themselves tell.
        for _ in range(17):
            yield b" " * (1 << 20)

    late = httpx.post(f"{server.url}{CHAT}", content=chunks(), headers=JSON, timeout=60)
    assert (late.status_code, error_of(late)["code"]) == (413, "request_too_large")
    assert neighbour.longest_gap_s < 3, "others stood still meanwhile"


def test_hosts_that_are_no_hosts_are_refused(server: Server, subtests: pytest.Subtests) -> None:
    hosts = ["a/?x=", "a b", "localhost:99999", "user@localhost", "localhost, evil.example", "[::1", "", "evil.example"]
    for host in hosts:
        with subtests.test(host=host):
            answer = httpx.post(f"{server.url}{CHAT}", content=GOOD, headers=JSON | {"Host": host}, timeout=60)
            code = "forbidden_host" if host == "evil.example" else "invalid_host"
            assert (answer.status_code, error_of(answer)["code"]) == (403 if code == "forbidden_host" else 400, code)


def test_headers_beyond_64_kib_are_refused(server: Server, neighbour: Neighbour) -> None:
    huge = "".join(f"X-Header-{number}: {'x' * 1000}\r\n" for number in range(80))
    with RawClient(server.port) as client:
        client.send(request_bytes(CHAT, GOOD, headers=huge))
        # Answered before there is a request, and with the connection closed.
        status, _, body = answer_of(client.read_to_end(limit_s=10))
        assert (status, json.loads(body)["error"]["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        (path, method, 404, "unknown_url")
        for path in ("/v1//chat/completions", "/v1/../v1/chat/completions", "/v1/chat")
        for method in ("GET", "POST")
    ]
    + [(path, method, 405, "method_not_allowed") for path in (CHAT, COMPLETION) for method in ("GET", "PUT", "DELETE")]
    + [("/v1/chat/%00completions", "POST", 404, "unknown_url"), ("/%ff%fe", "POST", 404, "unknown_url")],
)
def test_odd_paths_and_methods_are_refused(server: Server, path: str, method: str, status: int, code: str) -> None:
    with RawClient(server.port) as client:
        client.send(request_bytes(path, GOOD, method=method, headers="Connection: close\r\n"))
        answered, _, body = answer_of(client.read_to_end(limit_s=10))
    assert answered == status
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"f" * 40 + b"\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
        ("Content-Length: -1\r\n", b""),
        ("Content-Length: 5x\r\n", b"hello"),
    ],
)
def test_bodies_framed_wrongly_are_refused(server: Server, framing: str, body: bytes) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{framing}\r\n".encode()
    with RawClient(server.port) as client:
        client.send(head + body)
        # A proxy in front must never read it another way (request smuggling).
        status, _, answer = answer_of(client.read_to_end(limit_s=10))
    code = "not_implemented" if status == 501 else "malformed_request"
    assert (status, json.loads(answer)["error"]["code"]) == (501 if "gzip" in framing else 400, code)


def test_a_body_in_tiny_chunks_is_understood(server: Server) -> None:
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{CHUNKED}Connection: close\r\n"
    )
    body = b"".join(b"1;ext=1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\nX-Trailer: 1\r\n\r\n"
    with RawClient(server.port) as client:
        client.send(head.encode() + b"\r\n" + body)
        status, _, answer = answer_of(client.read_to_end())
    assert status == 200
    assert json.loads(answer)["usage"]["completion_tokens"] == 4


def test_length_and_chunks_together_end_the_connection(server: Server) -> None:
    # RFC 9112, section 6.1: a server that takes the chunks must close the connection after the answer.
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{CHUNKED}Content-Length: 3\r\n"
    )
    hidden = request_bytes("/livez", method="GET")
    with RawClient(server.port) as client:
        client.send(head.encode() + b"\r\n%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n" + hidden)
        received = client.read_to_end(limit_s=10)
    assert received.count(b"HTTP/1.1 ") == 1, "the request behind it was answered"


def test_an_answer_before_the_bodys_end_says_that_it_is_the_last(server: Server) -> None:
    # Otherwise a client that keeps its connections sends its next request into the end of this one.
    head = b"POST /v1/none-such HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    with RawClient(server.port) as early, RawClient(server.port) as whole:
        early.send(head)
        status, headers, _ = answer_of(early.read_to_end(limit_s=10))
        assert (status, headers["connection"]) == (404, "close")
        whole.send(head + b"{}" + request_bytes("/livez", method="GET", headers="Connection: close\r\n"))
        received = whole.read_to_end(limit_s=10)
        assert received.count(b"HTTP/1.1 ") == 2, "an answer after the body's end keeps the connection"


def test_a_request_id_of_the_clients_is_a_label_only(server: Server) -> None:
    body = BASE[CHAT] | {"max_tokens": 1500, "ignore_eos": True, "stream": True}
    headers = "X-Request-Id: x\r\n"
    with RawClient(server.port) as leaver, RawClient(server.port) as stayer:
        leaver.send(request_bytes(CHAT, body, headers=headers))
        leaver.read_until(b"data: ", count=3)
        stayer.send(request_bytes(CHAT, body | {"max_tokens": 100}, headers=headers))
        stayer.read_until(b"data: ", count=3)
        leaver.leave("reset")
        assert b'"finish_reason":"length"' in stayer.read_until(b"data: [DONE]")
    server.wait_idle(1)
