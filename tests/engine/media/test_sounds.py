"""Loading a request's sounds: bounds before decoding, and a plain WAV file for the engine."""

from __future__ import annotations

import asyncio
import base64
import io
import wave

import pytest

from engine.media import sounds
from engine.media.sounds import SoundLoader
from engine.speech.limits import SpeechLimits
from protocol.errors import Fault, TwowireError
from protocol.sounds import SoundSource
from tests.recordings import recording

RATE = 16000
LIMITS = SpeechLimits(max_chat_duration_s=4, max_file_bytes=200_000)


def source(file: bytes, param: str = "messages[0].content[0]") -> SoundSource:
    return SoundSource(param, base64.b64encode(file).decode())


async def unchanged(urls: list[str]) -> list[str]:
    return urls


async def loaded(*sources: SoundSource, longest_s: float | None = None) -> list[str]:
    return await SoundLoader(LIMITS, RATE, longest_s).use(sources, unchanged)


def content_of(url: str) -> tuple[int, int, int]:
    """The channels, samples a second and samples of a WAV file."""
    with wave.open(io.BytesIO(base64.b64decode(url.removeprefix("data:audio/wav;base64,")))) as reader:
        assert reader.getsampwidth() == 2
        return reader.getnchannels(), reader.getframerate(), reader.getnframes()


async def test_any_recording_becomes_a_plain_wav_file() -> None:
    stereo = source(recording(1.0, 44100, kind="MP3", channels=2))
    wrapped = SoundSource("b", base64.encodebytes(recording(0.5, RATE)).decode())
    first, second = map(content_of, await loaded(stereo, wrapped))
    assert first[:2] == (1, RATE)
    assert first[2] == pytest.approx(RATE, rel=0.1)
    assert second == (1, RATE, RATE // 2)


@pytest.mark.parametrize(
    ("files", "longest_s", "reason"),
    [
        ([b"hello"], None, "cannot be decoded"),
        ([recording(0.05, RATE)], None, "lasts 0.050 s; it must last at least 0.1 s"),
        ([recording(5.0, RATE, kind="OGG")], None, "lasts more than 4 s"),
        ([recording(1.5, RATE)] * 3, None, "last more than 4 s together"),
        ([recording(3.0, 44100)], None, "at most 200000 bytes together"),
        ([recording(3.0, RATE)], 2.0, "hears only 2 s of each"),
    ],
)
async def test_what_is_out_of_bounds_names_the_part(files: list[bytes], longest_s: float | None, reason: str) -> None:
    sources = [source(file, f"messages[0].content[{number}]") for number, file in enumerate(files)]
    with pytest.raises(TwowireError) as caught:
        await loaded(*sources, longest_s=longest_s)
    assert (caught.value.fault, caught.value.param) == (Fault.INVALID_VALUE, sources[-1].param)
    assert caught.value.message.startswith(f"{sources[-1].param}: ")
    assert reason in caught.value.message


async def test_what_is_no_base64_is_refused() -> None:
    with pytest.raises(TwowireError, match="not valid base64"):
        await loaded(SoundSource("a", "%%%%"))


async def test_too_many_requests_at_once_are_refused() -> None:
    loader = SoundLoader(SpeechLimits(max_requests=1), RATE)
    is_used, goes_on = asyncio.Event(), asyncio.Event()

    async def user(urls: list[str]) -> int:
        is_used.set()
        await goes_on.wait()
        return len(urls)

    using = asyncio.create_task(loader.use([source(recording(0.2, RATE))], user))
    await asyncio.wait_for(is_used.wait(), 60)
    with pytest.raises(TwowireError) as caught:
        await loader.use([source(b"")], unchanged)
    assert caught.value.fault is Fault.QUEUE_FULL
    goes_on.set()
    assert await using == 1


async def test_a_server_without_the_decoder_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "is_available", lambda: False)
    with pytest.raises(TwowireError, match=r"install the extra twowire\[audio\]") as caught:
        await loaded(source(recording(0.2, RATE)))
    assert caught.value.fault is Fault.NOT_IMPLEMENTED
