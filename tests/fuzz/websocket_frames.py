"""Generates the bytes of hostile WebSocket connections from a seed: handshakes and frames that are almost right.

Does no I/O. The same seed gives the same bytes.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Iterator

import orjson

MAX_FRAMES = 12
"""How many frames one connection has at most."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CREATE = {
    "type": "chat.completion.create",
    "stream_id": "a",
    "body": {"model": "guide", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2},
}
MESSAGES: tuple[bytes, ...] = (
    orjson.dumps(CREATE),
    orjson.dumps(CREATE | {"stream_id": "b", "event_id": "e", "resume": {}}),
    orjson.dumps({"type": "chat.completion.cancel", "stream_id": "a"}),
    orjson.dumps({"type": "chat.completion.resume", "id": "x", "resume_token": "y", "stream_id": "c"}),
    orjson.dumps({"type": "ping", "t": 1}),
    orjson.dumps({"type": "pong"}),
    orjson.dumps({"type": "unknown"}),
    b"",
    b"{}",
    b"null",
    b"[" * 5000,
    b"\xff\xfe",
    '{"type":"ping","t":"\u00fc\U0001f600"}'.encode(),
    b'{"type":"ping","t":"\xed\xa0\x80"}',
    b'{"type":"ping","t":"\\ud800"}',
    b"x" * 126,
    b"x" * 70_000,
)
CLOSE_CODES = (1000, 1001, 1003, 1007, 1011, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
ODD_HANDSHAKE_LINES = (
    "Sec-WebSocket-Protocol: twowire.v1",
    "Sec-WebSocket-Protocol: other",
    "Sec-WebSocket-Protocol: ,,",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Extensions: ;;=",
    "Sec-WebSocket-Version: 8",
    "Sec-WebSocket-Key: second",
    "Origin: https://evil.example",
    "Authorization: Bearer wrong",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "Connection: close",
)


def sequences(rng: random.Random) -> Iterator[bytes]:
    """The chunks that one hostile client sends on a connection, in order; a reader may stop anywhere."""
    raw = _handshake(rng)
    if rng.random() < 0.8:
        yield raw
        raw = b""
    # Otherwise the first frames come with the handshake, before it has been answered.
    for _ in range(rng.randint(1, MAX_FRAMES)):
        raw += _mutated(rng, b"".join(_message(rng)))
        if rng.random() < 0.7:
            yield from _pieces(rng, raw)
            raw = b""
    if raw:
        yield raw


def _handshake(rng: random.Random) -> bytes:
    """An opening handshake (RFC 6455, section 4.1), which is usually right."""
    keys = ("", "x", "AAAA", base64.b64encode(rng.randbytes(15)).decode(), "!" * 24, "\xff" * 8)
    key = base64.b64encode(rng.randbytes(16)).decode()
    lines = ["GET /v1/chat/completions HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    if rng.random() < 0.2:
        changes = {
            0: ("POST /v1/chat/completions HTTP/1.1", "GET /v1/chat/completions HTTP/1.0", "GET /nowhere HTTP/1.1"),
            1: ("Host: a/?x=", "Host: evil.example"),
            2: ("Upgrade: WEBSOCKET", "Upgrade: websocket, h2c", "Upgrade: x"),
            3: ("Connection: keep-alive, Upgrade", "Connection: close", "X: y"),
            4: ("Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version:", "X: y"),
            5: (f"Sec-WebSocket-Key: {rng.choice(keys)}", "X: y"),
        }
        at = rng.choice(list(changes))
        lines[at] = rng.choice(changes[at])
    if rng.random() < 0.3:
        lines += rng.choices(ODD_HANDSHAKE_LINES, k=rng.randint(1, 2))
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _message(rng: random.Random) -> Iterator[bytes]:
    """The frames of one message, or of one control frame."""
    kind = rng.random()
    if kind < 0.15:
        yield _frame(rng, rng.randbytes(rng.choice((0, 1, 125, 126))), rng.choice((PING, PONG)))
    elif kind < 0.22:
        code = struct.pack(">H", rng.choice(CLOSE_CODES))
        yield _frame(rng, rng.choice((b"", b"\x03", code, code + b"bye", code + b"\xff", code + b"x" * 130)), CLOSE)
    else:
        payload = rng.choice(MESSAGES)
        opcode = rng.choice((TEXT, TEXT, TEXT, BINARY))
        while rng.random() < 0.3:
            at = rng.randint(0, len(payload))
            yield _frame(rng, payload[:at], opcode, is_last=rng.random() < 0.05)
            payload, opcode = payload[at:], CONTINUATION
            if rng.random() < 0.2:
                yield _frame(rng, b"between", PING)
        yield _frame(rng, payload, opcode)


def _frame(rng: random.Random, payload: bytes, opcode: int, *, is_last: bool = True) -> bytes:
    """One masked frame (section 5.2); its bits, opcode and length are usually right."""
    reserved = 0
    is_masked = True
    if rng.random() < 0.08:
        match rng.randrange(4):
            case 0:
                reserved = rng.randint(1, 7)
            case 1:
                opcode = rng.randrange(16)
            case 2:
                is_masked = False
            case _:
                is_last = not is_last
    size, mask = len(payload), is_masked << 7
    head = bytes((is_last << 7 | reserved << 4 | opcode,))
    told = rng.random()
    if told < 0.02:
        head += bytes((mask | 127,)) + struct.pack(">Q", rng.choice((size, 1 << 62, 1 << 63, 100 << 20)))
    elif told < 0.04:
        head += bytes((mask | 126,)) + struct.pack(">H", rng.choice((size & 0xFFFF, 65535, 0)))
    elif size < 126:
        head += bytes((mask | size,))
    elif size < 1 << 16:
        head += bytes((mask | 126,)) + struct.pack(">H", size)
    else:
        head += bytes((mask | 127,)) + struct.pack(">Q", size)
    if not is_masked:
        return head + payload
    key = rng.randbytes(4)
    pad = (key * (size // 4 + 1))[:size]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
    return head + key + masked


def _mutated(rng: random.Random, raw: bytes) -> bytes:
    """`raw`, in one of ten with some bytes changed."""
    if rng.random() < 0.9 or not raw:
        return raw
    at = rng.randrange(len(raw))
    match rng.randrange(4):
        case 0:
            return raw[:at] + bytes((rng.randrange(256),)) + raw[at + 1 :]
        case 1:
            return raw[:at] + raw[at + rng.randint(1, 8) :]
        case 2:
            return raw[:at] + rng.randbytes(rng.randint(1, 8)) + raw[at:]
        case _:
            return raw[:at]


def _pieces(rng: random.Random, raw: bytes) -> Iterator[bytes]:
    """`raw` as it may come from the network: whole, in two, or byte by byte for a while."""
    how = rng.random()
    if not raw:
        return
    if how < 0.6 or len(raw) < 2:
        yield raw
    elif how < 0.9:
        at = rng.randrange(1, len(raw))
        yield raw[:at]
        yield raw[at:]
    else:
        singly = min(len(raw), 32)
        for number in range(singly):
            yield raw[number : number + 1]
        if raw[singly:]:
            yield raw[singly:]
