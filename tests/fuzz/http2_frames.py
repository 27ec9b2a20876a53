"""Hostile HTTP/2 connections from a seed: what to send on one connection, in chunks.

No I/O. A connection begins as a real client's does, more or less, and goes on with frames that are valid, odd, broken,
or far too many of one kind. The same seed gives the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ALTSVC, ORIGIN, PRIORITY_UPDATE = 10, 12, 16
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32

MAX_STEPS = 60
FLOOD_FRAMES = 2000
EDGES = (0, 1, 2, 3, 255, 256, 16383, 16384, 16385, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
PATHS = (b"/livez", b"/health", b"/v1/models", b"/v1/chat/completions", b"/metrics", b"/", b"/nothing", b"*")
BODY = b'{"model":"guide","messages":[{"role":"user","content":"hi"}],"max_tokens":4,"stream":true}'


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame (RFC 9113, section 4.1); `length` where it lies about its payload's."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind & 255, flags & 255)) + stream.to_bytes(4, "big") + payload


def sequences(rng: random.Random) -> Iterator[bytes]:
    """The chunks of one connection, at most some hundred of them, about 1 MB together; the preface comes first."""
    peer = _Peer(rng)
    yield from peer.begin()
    yield _chat(peer)
    for _ in range(rng.randint(1, MAX_STEPS)):
        made = rng.choice(_STEPS)(peer)
        if peer.errs() and rng.random() < 0.2:
            made = peer.damaged(made)
        yield from peer.in_pieces(made)


class _Peer:
    """A client's side: which streams it has opened, and its header compression."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.next_stream = 1
        self.opened: list[int] = []
        self.encoder = hpack.Encoder()
        self._error_rate = rng.choice([0.0, 0.01, 0.1, 0.5])

    def errs(self) -> bool:
        """Whether to do something that the protocol forbids. Most connections live longer if it is not too often."""
        return self.rng.random() < self._error_rate

    def begin(self) -> Iterator[bytes]:
        """The preface, mostly right: whole, in single bytes, without SETTINGS, or wrong."""
        dice = self.rng.random()
        hello = PREFACE + frame(SETTINGS, 0, 0, self.settings())
        if self.errs():
            yield self.damaged(hello) if dice < 0.5 else PREFACE
        elif dice < 0.9:
            yield hello
        else:
            yield from (hello[at : at + 1] for at in range(len(hello)))

    def in_pieces(self, made: bytes) -> Iterator[bytes]:
        """`made` at once, or cut at places that have nothing to do with its frames."""
        if self.rng.random() < 0.7 or len(made) < 2:
            yield made
            return
        cuts = sorted(self.rng.randrange(1, len(made)) for _ in range(self.rng.randint(1, 4)))
        for start, end in zip([0, *cuts], [*cuts, len(made)], strict=True):
            yield made[start:end]

    def damaged(self, made: bytes) -> bytes:
        """With a byte changed, left out or put in, or its end missing."""
        if not made:
            return made
        at = self.rng.randrange(len(made))
        middle = self.rng.choice([b"", self.rng.randbytes(1), self.rng.randbytes(2), made[at : at + 1] * 2])
        return made[:at] + middle + (made[at + 1 :] if self.rng.random() < 0.8 else b"")

    def number(self) -> int:
        """An unsigned number of 32 bits, often one where something begins or ends; else a small one, above 0."""
        if not self.errs():
            return self.rng.randint(1, 1000)
        return self.rng.choice(EDGES) if self.rng.random() < 0.6 else self.rng.getrandbits(32)

    def stream(self) -> int:
        """A stream that is or was open; else one that is idle, the server's, or none."""
        if not self.errs():
            return self.rng.choice(self.opened[-5:]) if self.opened else self.new_stream()
        return self.rng.choice([0, 1, 2, self.next_stream, self.next_stream + 2, self.number()])

    def new_stream(self) -> int:
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.opened.append(stream)
        return stream

    def settings(self) -> bytes:
        """The payload of a SETTINGS frame: usual, odd, repeated, or unknown to everybody."""
        pairs = [(self.rng.choice([1, 2, 3, 4, 5, 6, 8, 9, 0x2B2B, self.rng.getrandbits(16)]), self.number())]
        pairs *= self.rng.choice([0, 0, 1, 1, 3, 40])
        if not self.errs():
            pairs = [(4, self.rng.choice([0, 1, 65535, 2**20])), (1, 4096)]
        return b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs)

    def block(self) -> bytes:
        """A compressed header block: a request's, one with odd fields, or noise."""
        dice = self.rng.random() if self.errs() else 0.0
        method = self.rng.choice([b"GET", b"GET", b"POST", b"HEAD", b"PUT"])
        fields = [(b":method", method), (b":scheme", b"http"), (b":authority", b"localhost")]
        fields.append((b":path", self.rng.choice(PATHS)))
        if dice < 0.6:
            fields += [(b"content-type", b"application/json")] * self.rng.randint(0, 1)
        elif dice < 0.9:
            odd = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":method", b"\xff"), (b":path", b"/livez")]
            odd += [(b"x-a", self.rng.randbytes(self.rng.randint(0, 300))), (b"Upper", b"1")]
            odd += [(b"te", b"gzip"), (b"connection", b"close"), (b"content-length", b"5"), (b"cookie", b"a=b")]
            odd += [
                (b"", b""),
                (b"content-length", b"-1"),
                (b"host", b"a b"),
                (b":status", b"200"),
                (b"a", b"\r\n"),
            ]
            fields += self.rng.choices(odd, k=self.rng.randint(0, 4))
            self.rng.shuffle(fields)
        else:
            return self.rng.randbytes(self.rng.randint(0, 200))
        if self.rng.random() < 0.05:
            fields += [(b"x-%d" % number, b"1") for number in range(self.rng.choice([90, 600, 2000]))]
        return self.encoder.encode(fields, huffman=self.rng.random() < 0.7)

    def padded(self, payload: bytes) -> tuple[int, bytes]:
        """A flag and the payload, with padding or without; sometimes more of it than there is."""
        dice = self.rng.random()
        if dice < 0.8:
            return 0, payload
        size = self.rng.randint(0, 255)
        return PADDED, bytes([size]) + payload + bytes(size // 2 if self.errs() else size)


# -- steps -----------------------------------------------------------------------------------------------------------


def _request(peer: _Peer) -> bytes:
    """A request, whole or with its body to come; its headers in one frame or many, which may lack the last."""
    stream = peer.stream() if peer.errs() else peer.new_stream()
    block = peer.block()
    ends = END_STREAM if peer.rng.random() < 0.6 else 0
    if peer.rng.random() < 0.7:
        flag, payload = peer.padded(block)
        return frame(HEADERS, END_HEADERS | ends | flag, stream, payload)
    size = peer.rng.choice([0, 1 if peer.errs() else 10, 100])
    parts = [block[at : at + size] for at in range(0, len(block), size)] if size else [b""] * 10 + [block]
    made = frame(HEADERS, ends, stream, parts[0] if parts else b"")
    made += b"".join(frame(CONTINUATION, 0, stream, part) for part in parts[1:])
    return made + (b"" if peer.errs() else frame(CONTINUATION, END_HEADERS, stream))


def _chat(peer: _Peer) -> bytes:
    """A chat that would be answered, in DATA frames of any size."""
    stream = peer.new_stream()
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", PATHS[3])]
    made = frame(HEADERS, END_HEADERS, stream, peer.encoder.encode([*fields, (b"content-type", b"application/json")]))
    size = peer.rng.choice([1, 10, 1000])
    for at in range(0, len(BODY), size):
        flag, payload = peer.padded(BODY[at : at + size])
        made += frame(DATA, flag, stream, payload)
    return made + (frame(DATA, END_STREAM, stream) if peer.rng.random() < 0.8 else b"")


def _data(peer: _Peer) -> bytes:
    flag, payload = peer.padded(bytes(peer.rng.choice([0, 1, 100, 16000])))
    if peer.errs():
        payload += bytes(1000)
    return frame(DATA, flag | peer.rng.choice([0, 0, 0, END_STREAM]), peer.stream(), payload)


def _control(peer: _Peer) -> bytes:
    """A control frame, often with something wrong about it."""
    rng = peer.rng
    four = peer.number().to_bytes(4, "big")
    eight = rng.randbytes(8)
    priority = (peer.stream() if peer.errs() else 0).to_bytes(4, "big") + b"\x10"
    kind, payload, stream = rng.choice(
        [
            (SETTINGS, peer.settings(), 0),
            (PING, eight, 0),
            (WINDOW_UPDATE, four, 0),
            (WINDOW_UPDATE, four, peer.stream()),
            (RST_STREAM, four, peer.stream()),
            (PRIORITY, priority, peer.stream()),
            (PRIORITY_UPDATE, priority[:4] + b"u=1", 0),
        ]
    )
    flags = 0
    if peer.errs():
        ends = [(PUSH_PROMISE, bytes(4) + peer.block(), peer.stream()), (GOAWAY, bytes(4) + four, 0)]
        ends += [(CONTINUATION, peer.block(), peer.stream()), (ALTSVC, b'\x00\x00h2=":1"', 0), (kind, b"", stream)]
        ends += [(kind, payload[:-1], stream), (kind, payload + b"\0", stream), (kind, payload * 2, peer.stream())]
        kind, payload, stream = rng.choice(ends)
        flags = rng.choice([0, ACK, rng.getrandbits(8)])
    return frame(kind, flags, stream, payload)


def _noise(peer: _Peer) -> bytes:
    """A frame of any type, or what is none."""
    rng = peer.rng
    payload = rng.randbytes(rng.choice([0, 1, 5, 8, 300]))
    if not peer.errs():
        return frame(rng.choice([ORIGIN, 0x2A, 0xFF]), rng.getrandbits(8), peer.stream(), payload)
    length = rng.choice([None, 0, 1, 16384, 2**24 - 1])
    return rng.choice([payload, frame(rng.getrandbits(8), rng.getrandbits(8), peer.stream(), payload, length)])


def _flood(peer: _Peer) -> bytes:
    """Very many of one kind of frame."""
    rng = peer.rng
    stream = rng.choice(peer.opened) if peer.opened else peer.new_stream()
    count = rng.choice([20, 200, FLOOD_FRAMES]) if peer.errs() else 10
    one = rng.choice(
        [
            frame(SETTINGS, 0, 0, peer.settings()),
            frame(SETTINGS, ACK, 0),
            frame(PING, 0, 0, b"12345678"),
            frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
            frame(WINDOW_UPDATE, 0, stream, b"\0\0\0\1"),
            frame(WINDOW_UPDATE, 0, stream, b"\x7f\xff\xff\xff"),
            frame(PRIORITY, 0, stream, b"\0\0\0\0\1"),
            frame(RST_STREAM, 0, stream, bytes(4)),
            frame(DATA, 0, stream),
            frame(DATA, 0, stream, b"x"),
            frame(DATA, PADDED, stream, b"\xff" + bytes(255)),
            frame(DATA, END_STREAM, stream),
            frame(0x2A, 0, stream),
        ]
    )
    return one * min(count, 200_000 // len(one))


def _rapid_reset(peer: _Peer) -> bytes:
    """Requests that are taken back at once, by the client, or by a frame that makes the server do so."""
    breaks = [frame(RST_STREAM, 0, 0, b"\0\0\0\x08"), frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")]
    breaks += [frame(DATA, 0, 0, b"x"), frame(HEADERS, END_HEADERS | END_STREAM, 0, b"\x82")]
    broken = peer.rng.choice(breaks) if peer.errs() else breaks[0]
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", b"/livez")]
    made = b""
    for _ in range(peer.rng.choice([50, 500]) if peer.errs() else 3):
        stream = peer.new_stream()
        made += frame(HEADERS, END_HEADERS | END_STREAM, stream, peer.encoder.encode(fields))
        made += broken[:5] + stream.to_bytes(4, "big") + broken[9:]
    return made


_STEPS: tuple[Callable[[_Peer], bytes], ...] = (
    *(_request,) * 5,
    *(_chat,) * 3,
    *(_data,) * 2,
    *(_control,) * 4,
    _noise,
    _flood,
    _rapid_reset,
)
