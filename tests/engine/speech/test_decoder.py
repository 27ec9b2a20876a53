"""Recordings in, samples out; whatever else comes in is refused, and ends with its process."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import psutil
import pytest

from engine.speech import decode
from engine.speech.decoder import Decoder
from engine.speech.limits import SpeechLimits
from engine.speech.models import is_speech_model
from protocol.errors import Fault, TwowireError
from tests.recordings import recording

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


def on_disk(data: bytes) -> BinaryIO:
    file = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # the caller closes it
    file.write(data)
    return file


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
async def test_sound_of_many_kinds_becomes_samples(kind: str) -> None:
    with on_disk(recording(2.0, 44100, kind=kind, channels=2)) as file:
        samples = await Decoder(SpeechLimits()).decode(file, 16000)
    with samples.file:
        assert samples.duration_s == pytest.approx(2.0, abs=0.1)
        wave = np.memmap(samples.file, np.float32, "r", shape=(samples.count,))
        middle = wave[8000:24000]
        # A sine of amplitude 0.3.
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be decoded"),
        (b"hello " * 2000, "cannot be decoded"),
        (recording(1.0)[:30], "cannot be decoded"),
        (recording(1.0, kind="FLAC")[:3000], "cannot be decoded"),
        (PLAYLIST, "cannot be decoded"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "cannot be decoded"),
        (recording(11.0, 8000), "lasts more than 10 s"),
    ],
)
async def test_what_is_no_recording_is_refused(data: bytes, reason: str) -> None:
    with on_disk(data) as file, pytest.raises(TwowireError) as refused:
        await Decoder(SpeechLimits(max_duration_s=10)).decode(file, 16000)
    assert (refused.value.fault, refused.value.param) == (Fault.INVALID_VALUE, "file")
    assert reason in refused.value.message


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


async def test_a_cancellation_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, decoder = children(), Decoder(SpeechLimits(max_decoders=1))
    endless = tmp_path / "endless.py"
    endless.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(decode, "__file__", str(endless))
    with on_disk(recording(0.5)) as file:
        decoding = asyncio.ensure_future(decoder.decode(file, 16000))
        async with asyncio.timeout(30):
            while not children() - before:  # noqa: ASYNC110  # nothing tells of a process that has begun
                await asyncio.sleep(0.01)  # Between two looks, not in place of one.
        decoding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await decoding
        assert not children() - before
        # Its place is free again.
        monkeypatch.undo()
        (await decoder.decode(file, 16000)).file.close()


async def test_a_decoder_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    endless = tmp_path / "endless.py"
    endless.write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(decode, "__file__", str(endless))
    with on_disk(recording(0.5)) as file, pytest.raises(TwowireError) as refused:
        await Decoder(SpeechLimits(decode_timeout_s=0.1)).decode(file, 16000)
    assert (refused.value.fault, refused.value.param) == (Fault.INVALID_VALUE, "file")
    assert "more than 0.1 s" in refused.value.message
    assert not children() - before


async def test_a_decoder_that_crashes_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "crashing.py"
    crashing.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(decode, "__file__", str(crashing))
    with on_disk(recording(0.5)) as file, pytest.raises(TwowireError) as refused:
        await Decoder(SpeechLimits()).decode(file, 16000)
    assert (refused.value.fault, refused.value.param) == (Fault.INVALID_VALUE, "file")


def test_a_speech_model_is_known_by_its_configuration(tmp_path: Path) -> None:
    assert not is_speech_model(str(tmp_path))
    config = tmp_path / "config.json"
    for text, is_one in (
        ('{"architectures":["WhisperForConditionalGeneration"]}', True),
        ('{"architectures":["Qwen3ForCausalLM"]}', False),
        ('{"architectures":null}', False),
        ("[]", False),
        ("{", False),
    ):
        config.write_text(text)
        assert is_speech_model(str(tmp_path)) == is_one
