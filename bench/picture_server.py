"""The server with the engine of the tests that only counts, and that loads images as the real one does.

    python -m bench.picture_server serve …flags…

For `bench.pictures`. An image is received, bounded and decoded by the server's own code, and scaled as by a model's
image processor.
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from typing import Any

import numpy as np
from PIL import Image

from app.config.load import load_settings
from app.hypercorn import install
from app.server import run as server
from engine.api import Modality, Prepared, StageReport
from engine.media.limits import MediaLimits
from engine.media.loader import ImageLoader
from protocol.generation import ChatPrompt, GenerationRequest
from protocol.images import images_of
from tests.live.servers import fake_server

SIDE = 448


def _decoded(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file)).convert("RGB")


def _scaled(image: Image.Image) -> Any:
    return np.asarray(image.resize((SIDE, SIDE)), np.float32) / 255


async def _processed(images: list[Any]) -> int:
    pixels = [await asyncio.to_thread(_scaled, image) for image in images]
    return sum(one.nbytes for one in pixels)


class SeeingEngine(fake_server.PacedEngine):
    """Looks at images, and then counts."""

    modalities: tuple[Modality, ...] = ("text", "image")

    def __init__(self) -> None:
        super().__init__()
        self._images = ImageLoader(MediaLimits(), _decoded)

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        if isinstance(request.prompt, ChatPrompt) and request.prompt.has_media:
            await self._images.use(images_of(request.prompt.messages), _processed)
        return await super().prepare(request, client)

    async def close(self) -> None:
        await self._images.close()


async def _start(report: StageReport) -> SeeingEngine:
    return SeeingEngine()


if __name__ == "__main__":
    install()
    fake_server.start = _start
    server.build_services = fake_server.build_services  # type: ignore[attr-defined]  # a name that it imports
    sys.exit(server.run(load_settings(sys.argv[2:], os.environ)))
