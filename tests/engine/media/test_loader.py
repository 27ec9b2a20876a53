"""Loading a request's images: bounds before decoding, one deadline, a few at a time."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from PIL import Image

from engine.media.limits import MediaLimits
from engine.media.loader import MAX_DECODED, MAX_PREPARING, ImageLoader
from protocol.errors import Fault, TwowireError
from protocol.images import ImageSource
from tests.engine.media.hosts import answer, found, listening
from tests.engine.media.pictures import data_url, giant, picture, source


class Load:
    """Decodes, and counts."""

    def __init__(self) -> None:
        self.files: list[bytes] = []
        self.threads: set[int] = set()

    def __call__(self, file: bytes) -> tuple[int, int]:
        self.files.append(file)
        self.threads.add(threading.get_ident())
        image = Image.open(io.BytesIO(file))
        image.load()
        return image.size


async def loopback(host: str, port: int) -> list[ResolveResult]:
    return [found("127.0.0.1", port)]


async def unchanged(images: list[Any]) -> list[Any]:
    return images


async def loaded(
    sources: Sequence[ImageSource], limits: MediaLimits | None = None, load: Load | None = None
) -> list[Any]:
    loader = ImageLoader(limits or MediaLimits(), load or Load(), loopback)
    try:
        return await loader.use(sources, unchanged)
    finally:
        await loader.close()


async def refused(
    sources: Sequence[ImageSource], limits: MediaLimits | None = None, load: Load | None = None
) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        await loaded(sources, limits, load)
    assert caught.value.fault.status == 400
    assert caught.value.param is not None
    assert caught.value.message.startswith(f"{caught.value.param}: ")
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
async def test_a_data_url_is_loaded_in_a_thread(kind: str) -> None:
    load = Load()
    assert await loaded([source(data_url(picture(kind=kind)))], load=load) == [(8, 6)]
    assert threading.get_ident() not in load.threads


async def test_base64_alone_is_loaded_and_may_have_line_breaks() -> None:
    plain = base64.b64encode(picture()).decode()
    broken = "\r\n".join(plain[at : at + 20] for at in range(0, len(plain), 20))
    assert await loaded([ImageSource("a", base64=plain), ImageSource("b", base64=broken)]) == [(8, 6)] * 2


async def test_images_stay_in_order_wherever_they_come_from() -> None:
    async with listening(lambda path: answer(picture(int(path[1:]), 1))) as host:
        limits = MediaLimits(domains=(f"a.example:{host.port}",), private_networks=("127.0.0.1/32",))
        urls = [f"http://a.example:{host.port}/{width}" for width in (7, 5)]
        sources = [source(urls[0]), source(data_url(picture(6, 1))), source(urls[1])]
        assert await loaded(sources, limits) == [(7, 1), (6, 1), (5, 1)]


NOT_IMAGES = [
    b"",
    b"hello",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"%PDF-1.4",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a" + b"\0" * 30,
]


@pytest.mark.parametrize(
    "file", [*NOT_IMAGES, picture(200, 200, kind="JPEG")[:300], picture(kind="TIFF"), picture(kind="PPM")]
)
async def test_a_file_that_is_no_image_is_refused(file: bytes) -> None:
    assert (await refused([source(data_url(file))])).fault is Fault.INVALID_IMAGE


@pytest.mark.parametrize("text", ["*", "AAA", "AA==AA", "ä", "AAAA" * 3 + "="])
async def test_what_is_not_base64_is_refused(text: str) -> None:
    error = await refused([source(f"data:image/png;base64,{text}")])
    assert (error.fault, "base64" in error.message) == (Fault.INVALID_IMAGE, True)


async def test_a_truncated_file_is_refused() -> None:
    whole = picture(300, 300, kind="JPEG")
    assert (await refused([source(data_url(whole[: len(whole) // 2]))])).fault is Fault.INVALID_IMAGE


@pytest.mark.parametrize("size", [(6000, 6000), (65000, 65000), (1, 25_000_001), (2**31 - 1, 2**31 - 1)])
async def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    load = Load()
    error = await refused([source(data_url(giant(*size)), "input[0].content[2]")], load=load)
    assert (error.fault, error.param) == (Fault.IMAGE_TOO_LARGE, "input[0].content[2]")
    assert load.files == []


async def test_the_pixels_of_all_images_are_bounded_together() -> None:
    limits, load = MediaLimits(max_pixels=100), Load()
    sources = [source(data_url(picture(10, 10)), f"part {number}") for number in range(5)]
    assert len(await loaded(sources[:4], limits)) == 4
    error = await refused(sources, limits, load)
    assert (error.fault, error.param, len(load.files)) == (Fault.IMAGE_TOO_LARGE, "part 4", 4)


async def test_the_bytes_of_all_images_are_bounded_together() -> None:
    file = picture()
    limits = MediaLimits(max_bytes=2 * len(file))
    sources = [source(data_url(file), f"part {number}") for number in range(3)]
    assert len(await loaded(sources[:2], limits)) == 2
    assert (await refused(sources, limits)).param == "part 2"


async def test_all_images_have_one_deadline() -> None:
    async with listening(lambda path: None) as host:
        limits = MediaLimits(domains=(f"a.example:{host.port}",), private_networks=("127.0.0.1/32",), timeout_s=0.2)
        sources = [source(f"http://a.example:{host.port}/", f"part {number}") for number in range(200)]
        async with asyncio.timeout(30):  # One after another, they would take 40 s.
            error = await refused(sources, limits)
    assert (error.fault, error.param) == (Fault.INVALID_IMAGE_URL, "part 0")
    assert "0.2 s" in error.message


async def test_nothing_is_fetched_if_one_url_is_not_allowed() -> None:
    async with listening(lambda path: answer(picture())) as host:
        limits = MediaLimits(domains=(f"a.example:{host.port}",), private_networks=("127.0.0.1/32",))
        allowed = source(f"http://a.example:{host.port}/", "part 0")
        error = await refused([allowed, source("http://b.example/", "part 1")], limits)
    assert (error.param, host.connections) == ("part 1", 0)


async def test_only_so_many_requests_hold_pixels_at_a_time() -> None:
    loader = ImageLoader(MediaLimits(), Load())
    holding, most, turn = 0, 0, asyncio.Event()

    async def hold(images: list[Any]) -> None:
        nonlocal holding, most
        holding += 1
        most = max(most, holding)
        if holding == MAX_DECODED:
            turn.set()
        await turn.wait()
        holding -= 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(loader.use([source(data_url(picture()))], hold) for _ in range(8)))
    assert most == MAX_DECODED
    await loader.close()


async def test_a_cancelled_request_holds_its_place_until_its_pixels_are_used_up() -> None:
    loader, begun, may_end = ImageLoader(MediaLimits(), Load()), 0, asyncio.Event()

    async def hold(images: list[Any]) -> None:
        nonlocal begun
        begun += 1
        await may_end.wait()

    def request() -> asyncio.Task[None]:
        return asyncio.create_task(loader.use([source(data_url(picture()))], hold))

    async with asyncio.timeout(30):
        held = [request() for _ in range(MAX_DECODED)]
        while begun < MAX_DECODED:  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.001)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert all(task.cancelled() for task in held)
        after = request()
        for _ in range(20):
            await asyncio.sleep(0)
        assert loader._slots.locked()
        may_end.set()
        await after
    assert begun == MAX_DECODED + 1
    await loader.close()


async def test_only_so_many_requests_prepare_images_at_a_time() -> None:
    loader, may_end = ImageLoader(MediaLimits(), Load()), asyncio.Event()

    async def hold(images: list[Any]) -> None:
        await may_end.wait()

    images = [source(data_url(picture()))]
    async with asyncio.timeout(30):
        held = [asyncio.create_task(loader.use(images, hold)) for _ in range(MAX_PREPARING)]
        await asyncio.sleep(0)
        with pytest.raises(TwowireError) as refused:
            await loader.use(images, hold)
        assert (refused.value.fault, refused.value.fault.status) == (Fault.QUEUE_FULL, 503)
        may_end.set()
        await asyncio.gather(*held)
        await loader.use(images, hold)
    await loader.close()
