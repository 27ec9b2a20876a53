"""Small pictures as files."""

from __future__ import annotations

import base64
import io
import struct
import zlib

from PIL import Image

from protocol.images import ImageSource


def picture(width: int = 8, height: int = 6, colour: str = "red", kind: str = "PNG") -> bytes:
    """The file of a picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind)
    return file.getvalue()


def giant(width: int, height: int) -> bytes:
    """A PNG whose header says that it is of that size; decoding it would fail at once."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0")) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_url(file: bytes, kind: str = "image/png") -> str:
    """A file as a `data:` URL."""
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def source(url: str, param: str = "messages[0].content[1]") -> ImageSource:
    """An image of a request."""
    return ImageSource(param, url)
