"""Lines that are longer than the stream's limit, whole and too long."""

from __future__ import annotations

import asyncio

import pytest

from app.relay.messages import receive

LIMIT = 64


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(LIMIT)
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize("length", [1, LIMIT - 10, LIMIT - 9, LIMIT - 8, LIMIT, 10 * LIMIT])
async def test_a_line_may_be_longer_than_the_limit(length: int) -> None:
    text = "x" * length
    reader = reader_of(b'{"a":"%b"}\n{"b":1}\n{"c"' % text.encode())
    assert await receive(reader, 1000) == {"a": text}
    assert await receive(reader, 1000) == {"b": 1}
    assert await receive(reader, 1000) is None


async def test_a_long_line_may_come_in_pieces() -> None:
    reader = asyncio.StreamReader(LIMIT)
    receiving = asyncio.create_task(receive(reader, 1000))
    for piece in (b'{"a":"', *[b"x" * 50] * 5, b'"}', b"\n"):
        reader.feed_data(piece)
        await asyncio.sleep(0)
    assert await receiving == {"a": "x" * 250}


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_a_line_that_is_too_long_is_refused_before_its_end(end: bytes) -> None:
    reader = asyncio.StreamReader(LIMIT)
    reader.feed_data(b'"' + b"x" * 1000 + end)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        await receive(reader, 1000)
