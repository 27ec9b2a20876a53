"""Decodes the sounds of a chat, a few requests at a time, in processes with limits: see `engine.speech.decoder`.

The engine gets each as a plain WAV file, whose size and length are known, whatever the client sent.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import wave
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import BinaryIO, TypeVar, cast

import numpy as np
import pybase64

from engine.media.base64_text import bytes_of
from engine.speech.decoder import HOW_TO_INSTALL, LIBRARY, Decoder, Samples, is_available
from engine.speech.limits import SpeechLimits
from protocol.errors import Fault, TwowireError
from protocol.sounds import SoundSource

T = TypeVar("T")

MAX_SOUNDS = 32
"""Sounds of one request: each is decoded by a process of its own."""
MIN_S = 0.1
"""The shortest sound, as in OpenAI's API. A model may hear nothing at all in a shorter one."""
SAMPLE_BYTES = 2


class SoundLoader:
    """Loads sounds for one engine, as `rate` samples a second."""

    def __init__(self, limits: SpeechLimits, rate: int, longest_s: float | None = None) -> None:
        """`longest_s`: what the model would read of each sound, and leave out the rest."""
        self._limits = limits
        self._rate = rate
        self._longest_s = longest_s
        self._decoder = Decoder(replace(limits, max_duration_s=limits.max_chat_duration_s))
        self._slots = asyncio.Semaphore(limits.max_decoders)
        self._preparing = 0

    async def use(self, sources: Sequence[SoundSource], user: Callable[[list[str]], Awaitable[T]]) -> T:
        """What `user` makes of the sounds, which it gets as `data:` URLs of WAV files. Raises `TwowireError`."""
        if not is_available():
            message = f"This server cannot decode sound: {LIBRARY} is missing; {HOW_TO_INSTALL}."
            raise TwowireError(Fault.NOT_IMPLEMENTED, message, param=sources[0].param)
        if self._preparing >= self._limits.max_requests:
            message = f"{self._preparing} requests with sound are being prepared; try again later."
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)
        self._preparing += 1
        try:
            async with self._slots:
                return await user(await self._decoded(sources))
        finally:
            self._preparing -= 1

    async def _decoded(self, sources: Sequence[SoundSource]) -> list[str]:
        self._check_size(sources)
        urls, left_s = [], self._limits.max_chat_duration_s
        for source in sources:
            samples = await self._samples(source)
            with samples.file:
                left_s -= samples.duration_s
                self._check_duration(samples.duration_s, left_s, source.param)
                urls.append(await asyncio.to_thread(wav_url, samples))
        return urls

    async def _samples(self, source: SoundSource) -> Samples:
        with cast(BinaryIO, tempfile.TemporaryFile(buffering=0)) as file:
            await asyncio.to_thread(write_file, source, file)
            try:
                return await self._decoder.decode(file, self._rate)
            except TwowireError as error:
                # The decoder knows only of forms, where the field is `file`.
                message = f"{source.param}: {error.message[:1].lower()}{error.message[1:]}"
                raise TwowireError(error.fault, message, param=source.param) from error

    def _check_size(self, sources: Sequence[SoundSource]) -> None:
        left = most = self._limits.max_file_bytes
        for source in sources:
            left -= len(source.base64) * 3 // 4
            if left < 0:
                message = f"{source.param}: the sounds of a request may have at most {most} bytes together."
                raise TwowireError(Fault.INVALID_VALUE, message, param=source.param)

    def _check_duration(self, duration_s: float, left_s: float, param: str) -> None:
        if duration_s < MIN_S:
            message = f"{param}: the recording lasts {duration_s:.3f} s; it must last at least {MIN_S:g} s."
        elif left_s < 0:
            most = self._limits.max_chat_duration_s
            message = f"{param}: with this one, the sounds of the request last more than {most:g} s together."
        elif self._longest_s is not None and duration_s > self._longest_s:
            message = (
                f"{param}: the recording lasts {duration_s:.1f} s, and the model hears only {self._longest_s:g} s of "
                "each; send it in pieces."
            )
        else:
            return
        raise TwowireError(Fault.INVALID_VALUE, message, param=param)


def write_file(source: SoundSource, file: BinaryIO) -> None:
    """Write what the base64 stands for; line breaks are allowed. Raises `TwowireError`."""
    try:
        content = bytes_of(source.base64)
    except ValueError:
        message = f"{source.param}: the sound is not valid base64."
        raise TwowireError(Fault.INVALID_VALUE, message, param=source.param) from None
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def wav_url(samples: Samples) -> str:
    """A recording as a `data:` URL of a WAV file with 16 bits for each sample."""
    floats = np.memmap(samples.file, np.float32, "r", shape=(samples.count,))
    whole = io.BytesIO()
    with wave.open(whole, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(SAMPLE_BYTES)
        writer.setframerate(samples.rate)
        # The decoder made them of 16 bits: nothing is lost.
        writer.writeframes(np.clip(np.rint(floats * 32768), -32768, 32767).astype("<i2").tobytes())
    return "data:audio/wav;base64," + pybase64.b64encode(whole.getbuffer()).decode()
