"""Loads the images of a request: all of them fetched within one deadline, then decoded, a few at a time."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from PIL import Image

from engine.media.decode import Load, PixelBound, decode
from engine.media.fetch import Allowance, Fetcher, Resolve
from engine.media.limits import MediaLimits
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource, is_http

MAX_DECODED = 2
"""Requests whose images are in memory as pixels at a time. The engine reads one request's images after another's, so
that more would only take memory."""


class ImageLoader:
    """Loads images for one engine. `load` makes the engine's own object of a file."""

    def __init__(self, limits: MediaLimits, load: Load, resolve: Resolve | None = None) -> None:
        # Pillow warns of what is refused here anyway.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        self._limits = limits
        self._load = load
        self._fetcher = Fetcher(limits, resolve)
        self._threads = ThreadPoolExecutor(MAX_DECODED, thread_name_prefix="images")
        self._slots = asyncio.Semaphore(MAX_DECODED)

    @asynccontextmanager
    async def loaded(self, sources: Sequence[ImageSource]) -> AsyncIterator[list[Any]]:
        """What `load` has made of each image, to be used up within the block. Raises `TwowireError`."""
        allowance, pixels = Allowance(self._limits.max_bytes), PixelBound(self._limits)
        files = await self._fetched(sources, allowance)
        async with self._slots:
            images = []
            for number, source in enumerate(sources):
                loop, file = asyncio.get_running_loop(), files.pop(number, None)
                images.append(
                    await loop.run_in_executor(self._threads, decode, source, file, allowance, pixels, self._load)
                )
            yield images

    async def _fetched(self, sources: Sequence[ImageSource], allowance: Allowance) -> dict[int, bytes]:
        """The files of those that are not in the request itself, by their position."""
        distant = {number: source for number, source in enumerate(sources) if source.url and is_http(source.url)}
        if not distant:
            return {}
        for source in distant.values():
            self._fetcher.check(source)  # All, before anything is fetched for any.
        tasks = {
            number: asyncio.ensure_future(self._fetcher.fetch(source, allowance)) for number, source in distant.items()
        }
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                await asyncio.gather(*tasks.values())
        except TimeoutError:
            param = next(distant[number].param for number, task in tasks.items() if task.cancelled())
            message = f"{param}: the images were not fetched within {self._limits.timeout_s:g} s."
            raise TwowireError(Fault.INVALID_IMAGE_URL, message, param=param) from None
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {number: task.result() for number, task in tasks.items()}

    async def close(self) -> None:
        """Break off what is being fetched; what is being decoded ends by itself."""
        await self._fetcher.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
