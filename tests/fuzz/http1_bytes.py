"""Generates the bytes of hostile HTTP/1.1 connections from a seed: requests that are almost right, or not at all.

Does no I/O. The same seed gives the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import orjson

MAX_REQUESTS = 4
"""How many requests one connection has at most."""

PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/guide",
    "/v1/models/a%2Fb",
    "/health",
    "/livez",
    "/metrics",
    "/version",
    "/openapi.json",
    "/",
    "/v1//chat/completions",
    "/v1/v1/models",
    "/chat/completions",
    "/v1/chat/completions/",
    "/v1/../health",
    "/%2e%2e/%00",
    "/%ff%fe",
    "*",
    "//",
    "///health",
    "http://localhost/health",
    "localhost:443",
    "health",
    "/?" + "a=b&" * 40,
    "/health#fragment",
    "/health\x7f",
    "/" + "a" * 3000,
)
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "TRACE", "CONNECT", "PRI", "get", "G\tET", "M" * 300)
VERSIONS = ("HTTP/1.1",) * 60 + ("HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/1.1 ", "http/1.1", "", "HTTP/1")
HOSTS = ("localhost",) * 80 + ("127.0.0.1", "[::1]:80", "", "a/?x=", "a b", "localhost:99999", "evil.example", "[::1")
ODD_HEADERS = (
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: 200-ok",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: \x0bchunked",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length: 99999999999999999999",
    "Content-Length: 999999999999999999999999",
    "Content-Encoding: gzip",
    "Content-Type: text/plain",
    "Content-Type: application/json; charset=utf-16",
    "Host: other.example",
    "Authorization: Bearer ",
    "Authorization: Basic \xff\xfe",
    "Origin: null",
    "Origin: https://evil.example",
    "Access-Control-Request-Method: POST",
    "Access-Control-Request-Private-Network: true",
    "X-Request-Id: \xe9",
    "X-Request-Timeout: nan",
    "X-Request-Timeout: -1",
    "X: " + "y" * 5000,
    ": no name",
    "no colon",
    " folded",
    "A\x00B: c",
    "A: b\x00c",
    "A: b\rC: d",
    "Trailer: X-Later",
    "Te: trailers",
    "Range: bytes=0-1,5-2",
    "Cookie: " + "a=b; " * 200,
)
CHAT = {"model": "guide", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
BODIES: tuple[bytes, ...] = (
    orjson.dumps(CHAT),
    orjson.dumps(CHAT | {"stream": True}),
    orjson.dumps({"model": "guide", "prompt": "Hello", "max_tokens": 2}),
    b"",
    b"{}",
    b"[" * 2000,
    b'{"model":"guide","messages":' + b"[" * 500 + b"]" * 500 + b"}",
    b"\xff\xfe\x00{",
    b"null",
    b'{"a":1,"a":2}',
    b'"\\ud800"',
    b" " * 5000,
)
NO_HTTP: tuple[bytes, ...] = (
    b"\r\n" * 50,
    b"\n" * 200,
    b"\x00" * 100,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 40,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    b"SSH-2.0-client\r\n",
    b"GET /health\r\n\r\n",
    b"\x81\x80\x00\x00\x00\x00",
    b"HTTP/1.1 200 OK\r\n\r\n",
)


def sequences(rng: random.Random) -> Iterator[bytes]:
    """The chunks that one hostile client sends on a connection, in order; a reader may stop anywhere."""
    if rng.random() < 0.05:
        yield from _pieces(rng, rng.choice(NO_HTTP))
    for _ in range(rng.randint(1, MAX_REQUESTS)):
        if rng.random() < 0.2:
            yield rng.choice((b"\r\n",) * 6 + (b"\r\n\r\n", b"\n", b"\r", b" "))
        yield from _pieces(rng, _mutated(rng, _request(rng)))


def _request(rng: random.Random) -> bytes:
    """One request: each part of it is usually right."""
    body = rng.choice(BODIES)
    path = PATHS[0] if rng.random() < 0.4 else rng.choice(PATHS)
    method = rng.choice(("GET", "POST")) if rng.random() < 0.7 else rng.choice(METHODS)
    lines = [" ".join(filter(None, (method, path, rng.choice(VERSIONS))))]
    if rng.random() < 0.97:
        lines.append(f"Host: {rng.choice(HOSTS)}")
    if rng.random() < 0.8:
        lines.append("Content-Type: application/json")
    lines += rng.choices(ODD_HEADERS, k=rng.choice((0, 0, 0, 0, 1, 2, 5)))
    if rng.random() < 0.02:
        lines += [f"X-{number}: 1" for number in range(300)]
    framed = rng.random()
    if framed < 0.5:
        lines.append(f"Content-Length: {max(len(body) + rng.choice((0,) * 20 + (-1, 1, 1000)), 0)}")
    elif framed < 0.8:
        lines.append("Transfer-Encoding: chunked")
        body = _chunked(rng, body)
    ending = "\n" if rng.random() < 0.05 else "\r\n"
    return (ending.join(lines) + ending * 2).encode("latin-1") + body


def _chunked(rng: random.Random, body: bytes) -> bytes:
    """`body` in chunks, whose sizes, extensions, ends and trailers may be wrong."""
    parts = []
    while body:
        size = rng.randint(1, max(1, min(len(body), rng.choice((1, 7, 4096)))))
        told = b"%x" % size
        if rng.random() < 0.003:
            told = rng.choice((b"zz", b"-1", b"", b"f" * 30, b"0x5", b"%x " % size, b"%X" % (size + 1)))
        extension = rng.choice((b"", b"", b"", b";a=b", b';a="\r\n"', b";" + b"x" * 500))
        parts.append(told + extension + b"\r\n" + body[:size] + rng.choice((b"\r\n",) * 400 + (b"\n",)))
        body = body[size:]
        if len(parts) > 300:
            break
    end = (b"0\r\n\r\n",) * 4 + (
        b"0\r\nX-Trailer: 1\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\n: bad\r\n\r\n",
        b"",
    )
    return b"".join(parts) + rng.choice(end)


def _mutated(rng: random.Random, raw: bytes) -> bytes:
    """`raw`, in one of eight with some bytes changed."""
    if rng.random() < 0.875 or not raw:
        return raw
    at = rng.randrange(len(raw))
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: raw[:at] + bytes((rng.randrange(256),)) + raw[at + 1 :],
        lambda: raw[:at] + raw[at + rng.randint(1, 20) :],
        lambda: raw[:at] + rng.randbytes(rng.randint(1, 20)) + raw[at:],
        lambda: raw[:at] + raw[max(0, at - 50) : at] * rng.randint(1, 20) + raw[at:],
        lambda: raw[:at],
        lambda: raw.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\r\n", b"\r\n\r\n")), rng.randint(1, 3)),
        lambda: raw.replace(b": ", rng.choice((b":", b" : ", b":\t", b":\x0b")), rng.randint(1, 3)),
    )
    return rng.choice(changes)()


def _pieces(rng: random.Random, raw: bytes) -> Iterator[bytes]:
    """`raw` as it may come from the network: whole, in two, or byte by byte for a while."""
    how = rng.random()
    if not raw:
        return
    if how < 0.5 or len(raw) < 2:
        yield raw
    elif how < 0.9:
        at = rng.randrange(1, len(raw))
        yield raw[:at]
        yield raw[at:]
    else:
        singly = min(len(raw), 64)
        for number in range(singly):
            yield raw[number : number + 1]
        if raw[singly:]:
            yield raw[singly:]
