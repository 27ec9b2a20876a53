"""Limits what one HTTP/2 connection may cost in frames, time and memory: hypercorn 0.18 and h2 4.4 do not.

`http2_frames` counts the cost of frames. A connection that exceeds a limit or breaks the protocol gets the reason in a
GOAWAY and is closed. Tests: `tests/live/fake/http/test_http2_floods.py`, `tests/app/hypercorn/test_http2_frames.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import h2.events
import h2.exceptions
import hpack
import structlog
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol

from app.hypercorn.config import header_timeout_s, max_header_fields
from app.hypercorn.http2_frames import HEAD_BYTES, RST_STREAM, FrameError, FrameMeter

log = structlog.get_logger(__name__)

LINGER_S = 1.0
"""How long to go on reading after GOAWAY: closing at once would reset the connection and lose the GOAWAY."""

TABLE_BYTES = 4096
"""The largest header table kept for a client (RFC 7541, section 4.2)."""


class LimitFrames(H2Protocol):
    """hypercorn 0.18 sets no limit on frames; here they are counted, and handled in parts so that others get a turn.

    hypercorn has h2 parse 64 KiB at a time, up to 7,000 small frames or a quarter of a second (CVE-2019-9512, 9513,
    9515, 9516, 9518, 2023-44487, 2024-27316). It also lets out, with a traceback, what h2 raises for a connection that
    is over. Test: `tests/live/fake/http/test_http2_floods.py`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._intake = _Intake(self)

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._intake.take(event.data)
        else:
            if isinstance(event, Closed):
                self._intake.clock.stop()
            await super().handle(event)


class _Intake:
    """Where the bytes of one connection come in."""

    def __init__(self, protocol: H2Protocol) -> None:
        self.protocol = protocol
        self._meter = FrameMeter(protocol.config.h2_max_concurrent_streams)
        self._granted = protocol.connection.outbound_flow_control_window
        self.clock = _HeaderClock(self, self._meter, header_timeout_s(protocol.config))

    def is_over(self) -> bool:
        return self.protocol.closed

    async def take(self, data: bytes) -> None:
        """Handle `data`, over as many turns of the event loop as its cost requires. Data after the end is dropped."""
        protocol, meter = self.protocol, self._meter
        if self.is_over():
            return
        meter.open_streams = len(protocol.streams)
        meter.note_sent(self._granted - protocol.connection.outbound_flow_control_window)
        try:
            for part, is_turn_over in meter.slices(data):
                await self._parse(part)
                if is_turn_over and not self.is_over():
                    await asyncio.sleep(meter.wait_s())
                if self.is_over():
                    return
        except FrameError as error:
            await self.end(error.code, str(error))
        self.clock.follow()

    async def _parse(self, part: bytes) -> None:
        protocol = self.protocol
        try:
            events = protocol.connection.receive_data(part)
            if answer := protocol.connection.data_to_send():
                await protocol.send(RawData(data=answer))
                for _ in _resets(answer):
                    self._meter.note_reset()
            for event in events:
                if type(event) is h2.events.WindowUpdated and not event.stream_id:
                    self._granted += event.delta or 0
            # Nothing follows a GOAWAY: the part ends with it.
            if events and self._goes_on_after(events[-1]):
                events.pop()
            await protocol._handle_events(events)
        except h2.exceptions.ProtocolError as error:
            await self.end(error.error_code, str(error))

    def _goes_on_after(self, event: h2.events.Event) -> bool:
        """A client that will open no more streams still gets the rest of its responses (RFC 9113, section 6.8).

        For h2, any GOAWAY is the end. Node's `session.close()` sends one while its requests run.
        """
        connection = self.protocol.connection
        if (
            not isinstance(event, h2.events.ConnectionTerminated)
            or event.error_code != ErrorCodes.NO_ERROR
            or not connection.open_inbound_streams
        ):
            return False
        connection.state_machine.state = ConnectionState.SERVER_OPEN
        return True

    async def end(self, code: ErrorCodes, reason: str) -> None:
        """Send GOAWAY with the reason, end the connection's requests, and drop later data."""
        protocol = self.protocol
        if self.is_over():
            return
        level = log.info if code is ErrorCodes.ENHANCE_YOUR_CALM else log.debug
        level("http2_connection_ended", code=ErrorCodes(code).name, reason=reason[:200])
        # In place of h2's own GOAWAY, if there is one: it has no reason.
        protocol.connection.clear_outbound_data_buffer()
        protocol.connection.close_connection(code, reason[:200].encode("ascii", "replace"))
        await protocol.handle(Closed())
        await self._close(protocol.connection.data_to_send())

    async def _close(self, farewell: bytes) -> None:
        connection: Any = getattr(self.protocol.send, "__self__", None)  # hypercorn's `TCPServer`
        writer = connection.writer
        asyncio.get_running_loop().call_later(LINGER_S, writer.transport.abort)
        with suppress(OSError, RuntimeError):  # It is closed already.
            writer.write(farewell)
            if writer.can_write_eof():
                writer.write_eof()


def _resets(frames: bytes) -> Iterator[None]:
    """Once for each RST_STREAM in `frames`, which are whole."""
    at = 0
    while at < len(frames):
        if frames[at + 3] == RST_STREAM:
            yield
        at += HEAD_BYTES + int.from_bytes(frames[at : at + 3], "big")


class _HeaderClock:
    """Ends a connection whose preface, or the headers of a request, did not end in time."""

    def __init__(self, intake: _Intake, meter: FrameMeter, limit_s: float) -> None:
        self._intake = intake
        self._meter = meter
        self._limit_s = limit_s
        self._timer: asyncio.TimerHandle | None = None
        self._block = 0

    def follow(self) -> None:
        """Start or stop, after bytes have come."""
        if self._timer is None and not self._meter.is_amid_headers:
            return
        if self._timer is not None and (not self._meter.is_amid_headers or self._block != self._meter.blocks):
            self.stop()
        if self._timer is None and self._meter.is_amid_headers and not self._intake.is_over():
            self._block = self._meter.blocks
            spawn = self._intake.protocol.task_group.spawn
            self._timer = asyncio.get_running_loop().call_later(self._limit_s, spawn, self._end)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _end(self) -> None:
        if self._timer is not None:
            what = "headers of a request" if self._meter.blocks else "connection's preface"
            await self._intake.end(ErrorCodes.ENHANCE_YOUR_CALM, f"The {what} did not end within {self._limit_s:g} s.")


class GoIdleFromPreface(H2Protocol):
    """hypercorn 0.18 starts the idle time only after a request; here a connection is idle from its preface on.

    hypercorn takes the first line of the preface for an HTTP/1.1 request, which stops the timer.
    Test: `tests/live/fake/limits/test_connection_limits.py`.
    """

    async def initiate(self, *args: Any) -> None:
        await super().initiate(*args)
        await self.send(Updated(idle=self.idle))


class BoundHeadersAndSettings(H2Protocol):
    """h2 4.4 and hpack store and compute whatever a client announces or sends; here it is bounded.

    A client may allow a table of 4 GB for the compression of responses, which would be filled and searched; name 65,536
    settings, which each SETTINGS frame would go through; and send thousands of headers in 16 KB, each of which takes
    12 us to check. Tests: `tests/app/hypercorn/test_http2_frames.py`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection.remote_settings = _KnownSettings(client=True)
        self.connection.encoder = _SmallEncoder()
        self.connection.decoder = _FewFields(max_header_fields(self.config), self.connection.decoder)


_KNOWN = frozenset(SettingCodes)


class _KnownSettings(Settings):
    """A client's settings, without unknown ones."""

    def __setitem__(self, key: SettingCodes | int, value: int) -> None:
        if key in _KNOWN:
            super().__setitem__(key, value)


class _SmallEncoder(hpack.Encoder):
    """Keeps a table of `TABLE_BYTES` at most, however much the client allows."""

    @property
    def header_table_size(self) -> int:
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        size = min(value, TABLE_BYTES)
        if size != self.header_table.maxsize:
            self.header_table.maxsize = size
            # The smallest since the last headers, and the last (RFC 7541, section 4.2); hpack would collect them all.
            self.table_size_changes = [min([size, *self.table_size_changes]), size]


class _FewFields(hpack.Decoder):
    """Drops headers beyond the limit; the request is refused for having too many."""

    def __init__(self, max_fields: int, like: hpack.Decoder) -> None:
        super().__init__(like.max_header_list_size)
        self.max_allowed_table_size = like.max_allowed_table_size
        self._max_fields = max_fields

    def decode(self, data: bytes, raw: bool = False) -> Iterable[hpack.HeaderTuple]:
        return list(super().decode(data, raw))[: self._max_fields]
