"""A job that the embedder works on, cut into slices of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from engine.embeddings.api import Embedded, Job
from protocol.errors import TwowireError

SLICE_TEXTS = 64
SLICE_CHARS = 64 * 1024

Slice = tuple[int, int]
"""A range of a job's texts: first, end."""


class RunningJob:
    """A job, what has come back of it, and the slices that are still to be sent."""

    def __init__(self, number: int, job: Job, client: str) -> None:
        self.name = f"{number:x}"
        self.job = job
        self.client = client
        self.result = Embedded([b""] * len(job.texts))
        self.missing = len(job.texts)
        """Texts without a result."""
        self.ended: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        self.slices = slices(job)
        self.in_flight: set[int] = set()
        """The numbers of the slices that were sent and are not done."""

    def fail(self, error: TwowireError) -> None:
        """End the job with `error`, unless it has ended."""
        if not self.ended.done():
            self.ended.set_exception(error)


def slices(job: Job) -> Iterator[Slice]:
    """The slices of a job's texts, in order: `SLICE_TEXTS` at most, cut at `SLICE_CHARS`. A query counts each time."""
    first, chars, query_chars = 0, 0, len(job.query or "")
    for place, text in enumerate(job.texts):
        chars += len(text) + query_chars
        if place + 1 - first == SLICE_TEXTS or chars >= SLICE_CHARS:
            yield first, place + 1
            first, chars = place + 1, 0
    if first < len(job.texts):
        yield first, len(job.texts)
