"""Recordings, made by the tests."""

from __future__ import annotations

import io

import numpy as np
import soundfile


def recording(seconds: float, rate: int = 16000, *, kind: str = "WAV", channels: int = 1) -> bytes:
    """A tone of 440 Hz and the amplitude 0.3, as a file."""
    times = np.arange(int(seconds * rate)) / rate
    wave = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, np.stack([wave] * channels, axis=1), rate, format=kind)
    return file.getvalue()
