"""HTTP/2 over bare sockets, for clients that behave as no library would let them.

h2 frames; when to read, what to acknowledge and what to send is up to the test.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.events
import orjson
from h2.settings import SettingCodes

LIMIT_S = 30.0


@dataclass
class Stream:
    """What has come on a stream so far."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    has_ended: bool = False
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        return self.has_ended or self.reset is not None


class Http2Client:
    """One connection by prior knowledge, or over TLS. `takes` is False for a client that opens no window again."""

    def __init__(
        self,
        port: int,
        *,
        window: int = 65535,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        takes: bool = True,
    ) -> None:
        self.takes = takes
        self.streams: dict[int, Stream] = {}
        self.went_away = False
        self._pongs = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(("127.0.0.1", port))
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()
        self.read_until(lambda: self.h2.remote_settings.max_concurrent_streams < 2**31, "the server's settings")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    @property
    def address(self) -> tuple[str, int]:
        """This end of the connection."""
        name: tuple[str, int] = self._socket.getsockname()
        return name

    def flush(self) -> None:
        """Send what h2 has framed."""
        self._socket.sendall(self.h2.data_to_send())

    def open(
        self,
        path: str,
        body: object = None,
        *,
        method: str = "POST",
        headers: Iterable[tuple[str, str]] = (),
        ends: bool = True,
    ) -> int:
        """Send a request, its body as JSON unless it is bytes; `ends` is False where more of it is to come."""
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = Stream()
        own = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
        self.h2.send_headers(stream_id, [*own, ("content-type", "application/json"), *headers], end_stream=False)
        self.h2.send_data(stream_id, raw, end_stream=ends)
        self.flush()
        return stream_id

    def send(self, stream_id: int, raw: bytes, *, ends: bool = False) -> None:
        """Send more of a body, as the server's windows allow it."""
        while raw:
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            if room == 0:
                self._read()
                continue
            part, raw = raw[:room], raw[room:]
            self.h2.send_data(stream_id, part)
            self.flush()
        if ends:
            self.h2.end_stream(stream_id)
            self.flush()

    def reset(self, stream_id: int) -> None:
        """Cancel a request (RST_STREAM, CANCEL)."""
        self.h2.reset_stream(stream_id, 8)
        self.flush()

    def read_until(self, condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
        """Read until `condition` holds."""
        deadline = time.monotonic() + limit_s
        while not condition():
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                self._read()
            except TimeoutError:
                raise AssertionError(f"{what}: not within {limit_s} s") from None

    def finish(self, stream_id: int, limit_s: float = LIMIT_S) -> Stream:
        """Read until a stream is over."""
        stream = self.streams[stream_id]
        self.read_until(lambda: stream.is_over, f"the end of stream {stream_id}", limit_s)
        return stream

    def ask(self, path: str, body: object = None, *, method: str = "GET") -> Stream:
        """A request and its answer."""
        return self.finish(self.open(path, body, method=method))

    def ping(self) -> None:
        """A round trip: what was sent before has been handled when it returns."""
        self._pongs = 0
        self.h2.ping(b"12345678")
        self.flush()
        self.read_until(lambda: self._pongs, "the answer to a ping")

    def read_to_end(self, limit_s: float = LIMIT_S) -> None:
        """Read until the server closes the connection, in whatever way."""
        self._socket.settimeout(limit_s)
        try:
            while self._read(may_end=True):
                pass
        except ConnectionError:
            pass

    def _read(self, *, may_end: bool = False) -> bool:
        raw = self._socket.recv(65536)
        assert raw or may_end, "the server closed the connection"
        for event in self.h2.receive_data(raw):
            self._note(event)
        self.flush()
        return bool(raw)

    def _note(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0, Stream())
        match event:
            case h2.events.ResponseReceived():
                stream.headers = {str(name): str(value) for name, value in event.headers or []}
                stream.status = int(stream.headers.pop(":status"))
            case h2.events.DataReceived():
                stream.body += event.data or b""
                if self.takes:
                    self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            case h2.events.StreamEnded():
                stream.has_ended = True
            case h2.events.StreamReset():
                stream.reset = int(event.error_code or 0)
            case h2.events.PingAckReceived():
                self._pongs += 1
            case h2.events.ConnectionTerminated():
                self.went_away = True
