"""Bounds what a JSON text would become in memory, before it is parsed.

An empty list takes two bytes of the text, 56 of memory, and as long to make as a hundred bytes of text to read. A
parser holds Python's lock while it works, in whatever thread that is, so that a body of brackets would stop everybody.
Text costs next to nothing: only what is outside of strings counts.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_PARTS = 250_000
"""Lists, objects and keys. The largest chat has 10,000 messages, and four or so to each."""
MAX_VALUES = 500_000
"""Members of lists and objects, among them token ids: more than any context holds."""
UNCHECKED_BYTES = MAX_PARTS
"""A text of this size cannot have more parts."""

_PARTS, _COMMA = (b"[", b"{", b":"), b","
_PIECE_BYTES = 64 * 1024
"""Counted at a time, so that Python's lock is never held for long."""


def excess_of(*raws: bytes) -> str | None:
    """What JSON texts hold too much of together, as the end of a sentence: "holds more than …"; None where it is fine.

    A text that is not JSON may pass: the parser refuses it.
    """
    if sum(map(len, raws)) <= UNCHECKED_BYTES:
        return None
    if not _is_over(_sum(map(_counted, raws))):
        return None
    parts, values = _sum(map(_counted_outside_strings, raws))
    if parts > MAX_PARTS:
        return f"holds more than {MAX_PARTS} lists, objects and keys; send fewer."
    if values > MAX_VALUES:
        return f"holds more than {MAX_VALUES} values; send fewer."
    return None


Counts = tuple[int, int]


def _is_over(counts: Counts) -> bool:
    return counts[0] > MAX_PARTS or counts[1] > MAX_VALUES


def _sum(counts: Iterable[Counts]) -> Counts:
    parts, values = zip(*counts, strict=True)
    return sum(parts), sum(values)


def _counted(raw: bytes) -> Counts:
    return sum(map(raw.count, _PARTS)), raw.count(_COMMA)


def _counted_outside_strings(raw: bytes) -> Counts:
    """The parts and values of `raw`; counting stops where they are too many."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = values = 0
    is_outside = True
    for start in range(0, len(raw), _PIECE_BYTES):
        piece = raw[start : start + _PIECE_BYTES].split(b'"')
        outside = b'"'.join(piece[0 if is_outside else 1 :: 2])
        is_outside ^= len(piece) % 2 == 0
        more = _counted(outside)
        parts, values = parts + more[0], values + more[1]
        if _is_over((parts, values)):
            break
    return parts, values
