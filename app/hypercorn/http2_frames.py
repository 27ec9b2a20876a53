"""Counts the frames of one HTTP/2 connection before they are parsed: what they cost, and where to pause.

No I/O and no parser: it reads the nine bytes at the head of each frame (RFC 9113, section 4.1). h2 4.4 accepts
anything: it acknowledges any number of SETTINGS and PING frames, waits for a whole frame before it checks its length,
and joins 1 MB of headers before it checks their size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from h2.errors import ErrorCodes

PREFACE_BYTES = 24
HEAD_BYTES = 9
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8

MAX_FRAME_BYTES = 16384
"""The default of SETTINGS_MAX_FRAME_SIZE, which this server keeps (RFC 9113, section 6.5.2)."""

MAX_BLOCK_BYTES = 65536
"""The compressed headers of one request, in HEADERS and CONTINUATION frames."""

USUAL_BLOCK_BYTES = 4096
"""Each KiB beyond this in a HEADERS frame counts as a control frame: hpack takes 0.4 ms to decode it."""

MAX_SETTINGS = 32
"""Entries of one SETTINGS frame. Nine settings exist; h2 takes 20 us for each entry."""

TURN_COST = 64
"""The most that one turn of the event loop handles, in units of about 50 us: some 3 ms."""

CONTROL_BURST, CONTROL_PER_S = 500, 100
RESET_BURST, RESETS_PER_S = 300, 100
WINDOW_UPDATE_BURST, WINDOW_UPDATES_PER_S = 1000, 100
MAX_WINDOW_UPDATES = 16384
WINDOW_UPDATES_PER_STREAM = 8
BYTES_PER_WINDOW_UPDATE = 32
SMALL_DATA_BURST, SMALL_DATA_PER_S = 8192, 2000
SMALL_DATA_BYTES = 1024
MAX_PADDING_BYTES = 256


class FrameError(Exception):
    """The connection must end, with this code (RFC 9113, section 7)."""

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Bucket:
    """A token bucket that `fill` refills up to `burst`. Its level may fall below 0."""

    def __init__(self, burst: float, per_s: float, now_s: float) -> None:
        self.level = burst
        self._burst = burst
        self._per_s = per_s
        self._filled_at = now_s

    def fill(self, now_s: float) -> None:
        """Add the tokens for the time since the last call."""
        added = (now_s - self._filled_at) * self._per_s
        self.level = max(self.level, min(self.level + added, self._burst))
        self._filled_at = now_s

    @property
    def wait_s(self) -> float:
        """How long until the level is 0 again."""
        return max(-self.level, 0) / self._per_s


class FrameMeter:
    """What one client sends, from the preface on. Raises `FrameError` if it is too much or breaks the rules."""

    def __init__(self, max_streams: int = 100, now: Callable[[], float] = time.monotonic) -> None:
        self.open_streams = 0
        """How many requests are open; set by the caller. A window update takes time for each of them."""
        self.blocks = 0
        """How many header blocks have begun."""
        self._now = now
        began_at = now()
        self._control = Bucket(CONTROL_BURST, CONTROL_PER_S, began_at)
        self._resets = Bucket(max(RESET_BURST, 2 * max_streams), RESETS_PER_S, began_at)
        self._window_updates = Bucket(WINDOW_UPDATE_BURST, WINDOW_UPDATES_PER_S, began_at)
        self._small_data = Bucket(SMALL_DATA_BURST, SMALL_DATA_PER_S, began_at)
        self._sent_bytes = 0
        self._head = b""
        self._left = PREFACE_BYTES
        self._kind: int | None = None
        self._is_begun = self._has_settings = self._is_amid_block = self._ends_block = False
        self._block_bytes = 0
        self._cost = 0

    @property
    def is_amid_headers(self) -> bool:
        """Whether the preface, including its SETTINGS, or a request's headers have begun and not ended."""
        return self._is_amid_block or (self._is_begun and not self._has_settings)

    def wait_s(self) -> float:
        """How long to stop reading: 0, unless the client sends a body in very many small frames."""
        if self._small_data.level < 0:
            self._small_data.fill(self._now())
        return self._small_data.wait_s

    def note_sent(self, total_bytes: int) -> None:
        """Record how many bytes of responses this connection was sent so far; they earn window updates."""
        if total_bytes != self._sent_bytes:
            earned = (total_bytes - self._sent_bytes) / BYTES_PER_WINDOW_UPDATE
            self._window_updates.level = min(self._window_updates.level + earned, MAX_WINDOW_UPDATES)
            self._sent_bytes = total_bytes

    def note_reset(self) -> None:
        """A stream was reset because of what the client sent ("MadeYouReset", CVE-2025-8671)."""
        self._spend(self._resets, 1, "streams that had to be reset")

    def slices(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield `data` in parts, each with whether the turn of the event loop should end after it."""
        self._is_begun = True
        start = at = 0
        size = len(data)
        while at < size:
            at = self._advance(data, at, size)
            if self._cost >= TURN_COST and not self._left and not self._head:
                self._cost = 0
                yield data[start:at], True
                start = at
        if start < size:
            yield data[start:], False

    def _advance(self, data: bytes, at: int, size: int) -> int:
        """Continue in `data` from `at` to the end of a frame or of `data`; returns the new position."""
        if self._left:  # Amid a frame.
            end = at + self._left
        else:
            if self._head or size - at < HEAD_BYTES:
                missing = HEAD_BYTES - len(self._head)
                self._head += data[at : at + missing]
                if len(self._head) < HEAD_BYTES:
                    return size
                head, self._head = self._head, b""
                at += missing
            else:
                head = data[at : at + HEAD_BYTES]
                at += HEAD_BYTES
            length = int.from_bytes(head[:3], "big")
            self._begin_frame(length, head[3], head[4])
            end = at + length
        if end > size:
            self._left = end - size
            return size
        self._left = 0
        self._end_frame()
        return end

    def _end_frame(self) -> None:
        if self._ends_block:
            self._is_amid_block = self._ends_block = False
        elif self._kind == SETTINGS:
            self._has_settings = True

    def _begin_frame(self, size: int, kind: int, flags: int) -> None:
        self._kind = kind
        if size > MAX_FRAME_BYTES:
            raise FrameError(ErrorCodes.FRAME_SIZE_ERROR, f"A frame may have {MAX_FRAME_BYTES} bytes, not {size}.")
        if not self._has_settings and (kind != SETTINGS or flags & ACK):
            raise FrameError(ErrorCodes.PROTOCOL_ERROR, "The first frame must be SETTINGS.")
        if kind == DATA:
            self._begin_data(size, flags)
        elif kind in (HEADERS, CONTINUATION):
            self._begin_headers(size, kind, flags)
        elif kind == WINDOW_UPDATE:
            # One for the connection wakes each of its streams.
            self._cost += 1 + self.open_streams // 16
            self._spend(self._window_updates, 1, "WINDOW_UPDATE frames")
        elif kind == RST_STREAM:
            self._cost += 4
            self._spend(self._resets, 1, "RST_STREAM frames")
        elif kind == SETTINGS:
            entries = size // 6
            if entries > MAX_SETTINGS:
                reason = f"A SETTINGS frame may have {MAX_SETTINGS} entries, not {entries}."
                raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, reason)
            self._cost += 1 + entries // 2
            self._spend(self._control, 1 + entries / 4, "SETTINGS frames")
        elif kind == PUSH_PROMISE:
            # h2 would collect its headers first.
            raise FrameError(ErrorCodes.PROTOCOL_ERROR, "A client cannot push.")
        else:
            # What follows a GOAWAY must not be parsed together with it.
            self._cost += TURN_COST if kind == GOAWAY else 1
            self._spend(self._control, 1, "control frames")

    def _begin_data(self, size: int, flags: int) -> None:
        self._cost += 2 + size // 8192
        sure = size - MAX_PADDING_BYTES if flags & PADDED else size
        if sure <= 0 and not flags & END_STREAM:
            self._spend(self._control, 1, "DATA frames without data")
        elif sure < SMALL_DATA_BYTES:
            self._small_data.level -= 1

    def _begin_headers(self, size: int, kind: int, flags: int) -> None:
        self._cost += size // 256
        if kind == HEADERS:
            self._cost += 4
            if size > USUAL_BLOCK_BYTES:
                self._spend(self._control, (size - USUAL_BLOCK_BYTES) / 1024, "large headers")
            self._block_bytes = 0
            self.blocks += 1
            updates = self._window_updates
            updates.level = min(updates.level + WINDOW_UPDATES_PER_STREAM, MAX_WINDOW_UPDATES)
        else:
            self._spend(self._control, 1 + size / 1024, "CONTINUATION frames")
        self._block_bytes += size
        if self._block_bytes > MAX_BLOCK_BYTES:
            reason = f"The headers of a request may have {MAX_BLOCK_BYTES} bytes, compressed."
            raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, reason)
        self._is_amid_block = True
        self._ends_block = bool(flags & END_HEADERS)

    def _spend(self, bucket: Bucket, amount: float, what: str) -> None:
        bucket.level -= amount
        if bucket.level < 0:
            bucket.fill(self._now())
            if bucket.level < 0:
                raise FrameError(ErrorCodes.ENHANCE_YOUR_CALM, f"Too many {what} in too short a time.")
