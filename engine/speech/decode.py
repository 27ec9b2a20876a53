"""The program that decodes one recording: a process of its own, because media libraries crash and can be attacked.

Run by `engine.speech.decoder` as a file, with its arguments in JSON; imports nothing but PyAV. It reads the file
descriptor `source`, writes the samples to `target`, as 32-bit floats of one channel, and reports to standard output in
one line of JSON: `{"samples": n}`, or `{"refused": why}`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

FORMATS = (
    "aac,ac3,aiff,amr,asf,au,caf,eac3,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,ogg,wav,w64,wv,"
    "adts,avi"
)
"""FFmpeg's names of the containers that are read. Playlists are not among them: they would make it open other files."""

NICE = 5
"""Lower priority than the engine's."""
PR_SET_PDEATHSIG = 1
SAMPLE_BYTES = 4
FLUSH_BYTES = 1 << 20


class RefusedError(Exception):
    """The recording cannot be used; the message says why, and follows «The recording»."""


def main(options: dict[str, Any]) -> None:
    """Decode `options["source"]`, and report."""
    parent = options["parent"]
    # Ctrl+C must reach only the server, which lets running requests finish.
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # The server ended before the signal was set.
        os._exit(1)
    import av  # Before the limits: loading the libraries is not the recording's doing.

    av.logging.set_level(None)
    _limit(options)
    try:
        report: dict[str, Any] = {"samples": _decode(av, options)}
    except RefusedError as error:
        report = {"refused": str(error)}
    except MemoryError:
        report = {"refused": "takes too much memory to decode."}
    except (av.error.FFmpegError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        report = {"refused": f"cannot be decoded ({reason})."}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    # Without the libraries' own end, which may hang on broken files.
    os._exit(0)


def _limit(options: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.nice(NICE)
    # If the machine runs out of memory, the kernel kills this process first.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    most = int(options["max_samples"]) * SAMPLE_BYTES
    for which, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, most + (1 << 20)),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_DATA, _data_bytes() + options["memory_mib"] * 1024 * 1024),
        (resource.RLIMIT_CPU, int(options["cpu_s"]) + 1),
    ):
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(which, (value, value))


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process now; see VmData in proc(5)."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _decode(av: Any, options: dict[str, Any]) -> int:
    """Write the samples; returns how many there are."""
    most, written, waiting = int(options["max_samples"]), 0, bytearray()
    source = os.fdopen(options["source"], "rb", buffering=1 << 16)
    source.seek(0)
    allowed = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    with av.open(source, mode="r", options=allowed, metadata_errors="ignore") as container:
        if not container.streams.audio:
            raise RefusedError("has no sound in it.")
        stream = container.streams.audio[0]
        # By way of 16 bits, as with OpenAI's Whisper: only so does FFmpeg take the mean of two channels, not more.
        mixed = av.AudioResampler(format="s16", layout="mono", rate=options["rate"])
        floats = av.AudioResampler(format="flt", layout="mono", rate=options["rate"])
        for frame in _frames(container, stream):
            for out in _resampled(frame, mixed, floats):
                written += out.samples
                if written > most:
                    raise RefusedError(f"lasts more than {options['max_s']:g} s.")
                waiting += memoryview(out.planes[0])[: out.samples * SAMPLE_BYTES]
            if len(waiting) >= FLUSH_BYTES or frame is None:
                _write(options["target"], waiting)
                waiting.clear()
    if not written:
        raise RefusedError("has no sound in it.")
    return written


def _frames(container: Any, stream: Any) -> Any:
    yield from container.decode(stream)
    yield None  # What the resampler still holds.


def _resampled(frame: Any, *resamplers: Any) -> list[Any]:
    """`frame` by way of all `resamplers`; None, the last one, brings out what they still hold."""
    frames = [frame]
    for resampler in resamplers:
        made = [out for one in frames if one is not None for out in resampler.resample(one)]
        frames = [*made, *(resampler.resample(None) if frame is None else ()), *([None] if frame is None else ())]
    return [one for one in frames if one is not None]


def _write(target: int, data: bytearray) -> None:
    view = memoryview(bytes(data))
    while view:
        view = view[os.write(target, view) :]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
