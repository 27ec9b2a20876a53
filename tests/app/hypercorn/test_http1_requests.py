"""Requests that are barely HTTP, and probes: what is answered, and how what is refused looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from tests.app.channel.channels import until
from tests.app.hypercorn.test_bad_http import KEY, asked, served

PROBES = ("/health", "/livez", "/version", "/metrics", "/")
CLOSE = b"Connection: close\r\n\r\n"
HOST = b"Host: localhost\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[int]:
    async with served() as port:
        yield port


module = pytest.mark.asyncio(loop_scope="module")


@module
async def test_a_probe_needs_no_host(port: int, subtests: pytest.Subtests) -> None:
    for path in PROBES:
        for method in ("GET", "OPTIONS"):
            line = f"{method} {path} HTTP/1."
            for raw in (f"{line}0\r\n", f"{line}1\r\n", f"{line}1\r\nHost:\r\n", f"{line}1\r\nHost: 10.9.8.7:80\r\n"):
                with subtests.test(raw):
                    assert (await asked(port, raw.encode() + CLOSE))[0] == 200


@module
async def test_a_web_page_under_a_name_of_its_own_is_no_probe(port: int) -> None:
    for path in PROBES:
        for host in ("evil.example", "10.9.8.7.evil.example", "localhost.evil.example"):
            status, _, body = await asked(port, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode() + CLOSE)
            assert (status, orjson.loads(body)["error"]["code"]) == (403, "forbidden_host")


@module
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/ws/tickets", "/openapi.json", "/none"])
async def test_what_is_no_probe_needs_a_host(port: int, path: str) -> None:
    for head in (b" HTTP/1.0\r\n", b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost:\r\n"):
        status, _, body = await asked(port, b"GET " + path.encode() + head + CLOSE)
        assert (status, orjson.loads(body)["error"]["code"]) == (400, "invalid_host")
    status, _, body = await asked(port, f"GET {path} HTTP/1.1\r\nHost: 10.9.8.7\r\n".encode() + CLOSE)
    assert (status, orjson.loads(body)["error"]["code"]) == (403, "forbidden_host")


async def test_a_probe_of_the_figures_still_needs_the_key() -> None:
    async with served(environment={"TWOWIRE_API_KEYS": KEY}) as port:
        assert (await asked(port, b"GET /metrics HTTP/1.0\r\n\r\n"))[0] == 401
        assert (await asked(port, f"GET /metrics HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()))[0] == 200


@module
@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n" * 1000, b"\n\r\n"])
async def test_empty_lines_before_a_request_are_skipped(port: int, empty: bytes) -> None:
    request = b"GET /livez HTTP/1.1\r\n" + HOST
    assert (await asked(port, empty + request + CLOSE))[0] == 200
    # As some clients send them, behind a body; and so that the line comes in two.
    post = b"POST /v1/models HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in (post + empty + request + b"\r\n" + empty + b"\r", b"\n" + request + CLOSE):
        writer.write(part)
        received = await reader.readuntil(b"ok")
    writer.close()
    assert received.count(b"HTTP/1.1 200") == 1


@module
@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://localhost/livez", 200),
        ("?a=b", 400),
        ("livez", 400),
        ("localhost:443", 400),
        ("http://[::1/livez", 400),
        ("http://localhost", 400),
        ("ftp://localhost/livez", 400),
        ("*", 404),
    ],
)
async def test_odd_targets_are_refused(port: int, target: str, status: int) -> None:
    answer = await asked(port, f"GET {target} HTTP/1.1\r\n".encode() + HOST + CLOSE)
    assert answer[0] == status


MALFORMED: dict[str, tuple[int, str, bytes]] = {
    "no version": (400, "malformed_request", b"GET /livez\r\n\r\n"),
    "TLS": (400, "malformed_request", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "a header without a colon": (400, "malformed_request", b"GET / HTTP/1.1\r\nSecret\r\n\r\n"),
    "an odd length": (400, "malformed_request", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n"),
    "two hosts": (400, "invalid_host", b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    "an odd chunk": (
        400,
        "malformed_request",
        b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ),
    "headers without end": (431, "headers_too_large", b"GET / HTTP/1.1\r\nX: " + b"Secret" * 12_000),
    "another coding": (501, "not_implemented", b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "CONNECT": (501, "not_implemented", b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"),
}


@module
async def test_what_is_malformed_gets_an_error_object(port: int, subtests: pytest.Subtests) -> None:
    for name, (expected, code, raw) in MALFORMED.items():
        with subtests.test(name):
            status, headers, body = await asked(port, raw)
            assert (status, headers["content-type"], headers["connection"]) == (expected, "application/json", "close")
            error = orjson.loads(body)["error"]
            assert (error["code"], error["type"], error["param"]) == (code, "invalid_request_error", None)
            assert "Secret" not in error["message"]


@module
@pytest.mark.parametrize("line", [b"HEAD / HTTP/1.1", b"HEAD ?x HTTP/1.1"])
async def test_a_head_that_is_malformed_gets_no_body(port: int, line: bytes) -> None:
    raw = line + b"\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    received = await reader.read()
    writer.close()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.endswith(b"\r\n\r\n")


WRONG_BASES = [
    ("POST", "/chat/completions", "/v1/chat/completions"),
    ("GET", "/chat/completions", "/v1/chat/completions"),
    ("POST", "/v1/v1/chat/completions", "/v1/chat/completions"),
    ("POST", "/v1//chat/completions", "/v1/chat/completions"),
    ("POST", "/api/v1/chat/completions", "/v1/chat/completions"),
    ("POST", "/v1/chat/completions/chat/completions", "/v1/chat/completions"),
    ("POST", "/openai/v1/embeddings", "/v1/embeddings"),
    ("GET", "/v1//models", "/v1/models"),
    ("GET", "/models/a/b", "/v1/models/a/b"),
]


@module
async def test_a_404_names_the_base_url_that_works(port: int, subtests: pytest.Subtests) -> None:
    for method, path, meant in WRONG_BASES:
        with subtests.test(path=path):
            raw = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\n".encode()
            status, _, body = await asked(port, raw + CLOSE)
            error = orjson.loads(body)["error"]
            assert (status, error["code"]) == (404, "unknown_url")
            assert f"localhost:{port}/v1, without a slash" in error["message"]
            assert f" {meant}." in error["message"]


@module
@pytest.mark.parametrize("path", ["/nothing", "/v1/nothing", "/" + "a/" * 60 + "v1/models", "/v1"])
async def test_a_404_without_a_guess_gives_no_advice(port: int, path: str) -> None:
    status, _, body = await asked(port, f"GET {path} HTTP/1.1\r\n".encode() + HOST + CLOSE)
    assert status == 404
    assert "base URL" not in orjson.loads(body)["error"]["message"]


@module
async def test_a_slash_at_the_end_of_a_path_does_no_harm(port: int) -> None:
    for path in ("/v1/models/", "/health/"):
        assert (await asked(port, f"GET {path} HTTP/1.1\r\n".encode() + HOST + CLOSE))[0] == 200


async def test_a_request_that_is_taken_up_when_its_client_is_gone_ends() -> None:
    ahead = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    unfinished = b"POST /v1/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n" + HOST
    async with served() as port:
        await asked(port, b"GET /livez HTTP/1.0\r\n\r\n")
        before = asyncio.all_tasks()
        for number in range(40):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(ahead * (number % 4 + 1) + unfinished + b"\r\n{")
            for _ in range(number // 4):
                await asyncio.sleep(0)
            writer.write_eof()
            await reader.read()
            writer.close()
        await until(lambda: not asyncio.all_tasks() - before)
