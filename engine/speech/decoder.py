"""Decodes recordings, each in a process of its own with limits that the kernel enforces."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import structlog

from engine.speech import decode
from engine.speech.limits import SpeechLimits
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

LIBRARY = "av"
"""What decodes."""
HOW_TO_INSTALL = "install the extra twowire[audio]"
MAX_REPORT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Samples:
    """A decoded recording: a file of 32-bit floats of one channel, which is deleted when it is closed."""

    file: BinaryIO
    count: int
    rate: int

    @property
    def duration_s(self) -> float:
        """How long it lasts."""
        return self.count / self.rate


def is_available() -> bool:
    """Whether this server can decode recordings."""
    return importlib.util.find_spec(LIBRARY) is not None


class Decoder:
    """Decodes at most `limits.max_decoders` recordings at a time."""

    def __init__(self, limits: SpeechLimits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.max_decoders)

    async def decode(self, file: BinaryIO, rate: int) -> Samples:
        """The samples of `file` at `rate` a second. A cancellation ends the process.

        Raises `TwowireError` (400) for what is not a recording, is too long, or cannot be decoded.
        """
        async with self._places:
            target = cast(BinaryIO, tempfile.TemporaryFile(buffering=0))  # noqa: SIM115  # whoever gets it closes it
            try:
                count = await self._run(file, target, rate)
            except BaseException:
                target.close()
                raise
        return Samples(target, count, rate)

    async def _run(self, file: BinaryIO, target: BinaryIO, rate: int) -> int:
        limits = self._limits
        options = {
            "source": file.fileno(),
            "target": target.fileno(),
            "rate": rate,
            "max_s": limits.max_duration_s,
            "max_samples": int(limits.max_duration_s * rate),
            "memory_mib": limits.decode_memory_mib,
            "cpu_s": limits.decode_timeout_s,
            "parent": os.getpid(),
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(Path(decode.__file__)),
            json.dumps(options),
            pass_fds=(file.fileno(), target.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdout is not None
        try:
            async with asyncio.timeout(limits.decode_timeout_s * limits.wall_factor):
                report = await child.stdout.read(MAX_REPORT_BYTES)
                code = await child.wait()
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                await asyncio.shield(child.wait())
        return self._count(code, report)

    def _count(self, code: int, report: bytes) -> int:
        if code == 0 and report:
            found = json.loads(report)
            if "refused" in found:
                raise TwowireError(Fault.INVALID_VALUE, f"The recording {found['refused']}", param="file")
            return int(found["samples"])
        if code in (-9, -24):  # SIGKILL at the hard limit, SIGXCPU at the soft one.
            raise self._too_slow()
        log.warning("decoder_crashed", code=code)
        message = "The recording cannot be decoded: the decoder crashed on it."
        raise TwowireError(Fault.INVALID_VALUE, message, param="file")

    def _too_slow(self) -> TwowireError:
        message = f"The recording takes more than {self._limits.decode_timeout_s:g} s to decode; send a shorter one."
        return TwowireError(Fault.INVALID_VALUE, message, param="file")
