"""From the text or the file of an image to its pixels, in a thread, after its size is known to be allowed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from engine.media.base64_text import bytes_of
from engine.media.fetch import Allowance
from engine.media.limits import MediaLimits
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource, data_start

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")
"""Those of the web. Pillow reads many more, by code that few have tested with hostile files."""

Load = Callable[[bytes], Any]
"""From a file to the engine's own object for an image."""


def decode_base64(source: ImageSource) -> bytes:
    """The file in a `data:` URL, or in base64 alone; line breaks are allowed. Raises `TwowireError`."""
    text = source.base64 or source.url[data_start(source.url) :]
    try:
        return bytes_of(text)
    except ValueError:
        message = f"{source.param}: the image is not valid base64."
        raise TwowireError(Fault.INVALID_IMAGE, message, param=source.param) from None


class PixelBound:
    """How many pixels the images of one request may still have."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self._left = limits.max_total_pixels

    def take(self, width: int, height: int, param: str) -> None:
        """Raise `TwowireError` if an image of that size is too large, or one too many."""
        limits, pixels = self._limits, width * height
        if pixels > limits.max_pixels:
            message = (
                f"{param}: the image has {width} × {height} pixels; an image may have at most {limits.max_pixels}."
            )
            raise TwowireError(Fault.IMAGE_TOO_LARGE, message, param=param)
        self._left -= pixels
        if self._left < 0:
            message = (
                f"{param}: with this one, the images of the request have more than {limits.max_total_pixels} pixels "
                "together; send smaller ones, or fewer."
            )
            raise TwowireError(Fault.IMAGE_TOO_LARGE, message, param=param)


def decode(source: ImageSource, file: bytes | None, allowance: Allowance, pixels: PixelBound, load: Load) -> Any:
    """What `load` makes of an image; `file` is what was fetched. Raises `TwowireError`. To be called in a thread.

    `load` is not called before the size in the file's header is known to be allowed.
    """
    if file is None:
        file = decode_base64(source)
        allowance.take(len(file), source.param)
    try:
        with Image.open(io.BytesIO(file), formats=FORMATS) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        message = f"{source.param}: the image has too many pixels."
        raise TwowireError(Fault.IMAGE_TOO_LARGE, message, param=source.param) from None
    except Exception as error:  # What Pillow raises for broken files is of many kinds.
        raise _unreadable(source) from error
    pixels.take(width, height, source.param)
    try:
        return load(file)
    except Exception as error:
        raise _unreadable(source) from error


def _unreadable(source: ImageSource) -> TwowireError:
    message = f"{source.param}: the image cannot be read: it is damaged, or not one of {', '.join(FORMATS)}."
    return TwowireError(Fault.INVALID_IMAGE, message, param=source.param)
