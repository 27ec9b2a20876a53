"""The bytes that base64 in a request stands for."""

from __future__ import annotations

import pybase64


def bytes_of(text: str) -> bytes:
    """Line breaks are allowed. Raises `ValueError`."""
    try:
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        return pybase64.b64decode("".join(text.split()), validate=True)
