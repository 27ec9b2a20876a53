"""Segments as subtitles."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.audio.text import Segment


def srt(segments: Iterable[Segment]) -> str:
    """SubRip: numbered segments."""
    return "".join(
        f"{number}\n{_time(one.start_s, ',')} --> {_time(one.end_s, ',')}\n{_line(one)}\n\n"
        for number, one in enumerate(segments, 1)
    )


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT. https://www.w3.org/TR/webvtt1/"""
    cues = (f"{_time(one.start_s, '.')} --> {_time(one.end_s, '.')}\n{_line(one)}\n\n" for one in segments)
    return "WEBVTT\n\n" + "".join(cues)


def _time(seconds: float, point: str) -> str:
    total_ms = round(seconds * 1000)
    total_s, ms = divmod(total_ms, 1000)
    minutes, s = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{s:02}{point}{ms:03}"


def _line(segment: Segment) -> str:
    # An empty line would end the subtitle, an arrow begin another.
    return " ".join(segment.text.split()).replace("-->", "->")
