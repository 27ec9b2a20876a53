"""Loads the images of a request: all of them fetched within one deadline, then decoded, a few at a time."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from PIL import Image

from engine.media.decode import Load, PixelBound, decode
from engine.media.fetch import Allowance, Fetcher, Resolve
from engine.media.limits import MediaLimits
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource, is_http

T = TypeVar("T")

MAX_DECODED = 2
"""Requests whose images are in memory as pixels at a time. The engine reads one request's images after another's, so
that more would only take memory."""
MAX_PREPARING = 64
"""Requests whose images are fetched, wait for their turn, or are in memory as pixels at a time."""


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
        self._preparing = 0

    async def use(self, sources: Sequence[ImageSource], user: Callable[[list[Any]], Awaitable[T]]) -> T:
        """What `user` makes of the images, which it gets as `load` has made them. Raises `TwowireError`.

        Where this is cancelled while there are pixels, `user` still goes on to its end: its threads cannot be stopped,
        and others come into memory only after that.
        """
        if self._preparing >= MAX_PREPARING:
            message = f"{self._preparing} requests with images are being prepared; try again later."
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)
        self._preparing += 1
        try:
            allowance = Allowance(self._limits.max_bytes)
            files = await self._fetched(sources, allowance)
            await self._slots.acquire()
            using = asyncio.ensure_future(self._use(sources, files, allowance, user))
            using.add_done_callback(lambda _: self._slots.release())
            return await asyncio.shield(using)
        finally:
            self._preparing -= 1

    async def _use(
        self,
        sources: Sequence[ImageSource],
        files: dict[int, bytes],
        allowance: Allowance,
        user: Callable[[list[Any]], Awaitable[T]],
    ) -> T:
        loop, pixels = asyncio.get_running_loop(), PixelBound(self._limits)
        images = []
        for number, source in enumerate(sources):
            file = files.pop(number, None)
            images.append(
                await loop.run_in_executor(self._threads, decode, source, file, allowance, pixels, self._load)
            )
        return await user(images)

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
