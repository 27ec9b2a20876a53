"""Admits generations: gives each slots or a place in the queue, with the adapter it uses, or refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.adapter_registry import Adapters
from engine.adapters.api import Adapter
from engine.api import Prepared
from engine.option import Option
from engine.queue.fair_queue import FairQueue, QueueEntry
from protocol.errors import Fault, TwowireError

MAX_WAITING_MEDIA = 4 << 30
"""The bytes of images, ready for the model, that wait in the queue."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """How many sequences the engine computes at once (`running`), and how many may wait beyond those."""

    running: int = 256
    queued: Annotated[
        int,
        Option(
            "The maximum number of sequences waiting for the engine; further requests are refused.",
            name="max_queued",
            ge=0,
        ),
    ] = 256
    running_per_client: Annotated[
        int | None,
        Option(
            "The maximum number of one client's sequences that the engine computes at a time; further requests wait.",
            name="max_running_per_key",
            shown="7/8 of max-num-seqs with several API keys, otherwise all",
            ge=1,
        ),
    ] = None

    @property
    def total(self) -> int:
        return self.running + self.queued


class Admission:
    """Counts the sequences of all clients. Clients share the slots evenly: see `engine.queue.fair_queue`."""

    def __init__(self, limits: AdmissionLimits, adapters: Adapters) -> None:
        self.queue = FairQueue(limits.running, limits.queued, limits.running_per_client)
        self._limits = limits
        self._adapters = adapters

    def check_size(self, sequences: int, param: str | None) -> None:
        """Raise `TwowireError` if the server could never hold so many sequences; `param` names the field."""
        if sequences > self._limits.total:
            raise TwowireError(
                Fault.INVALID_VALUE,
                f"The request asks for {sequences} sequences at once; this server can hold {self._limits.total}.",
                param=param,
            )

    def queue_full(self) -> TwowireError:
        """The error of a request for which there is no room now."""
        queue, queued = self.queue, self._limits.queued
        message = f"The queue is full: of {queue.slots} sequences {queue.waiting} wait, and {queued} may."
        return TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)

    def enter(self, client: str, prepared: Prepared, label: str) -> QueueEntry:
        """Take slots, or a place in the queue, and hold the adapter. Raises `TwowireError`; then nothing is held."""
        adapter, media_bytes = prepared.adapter, prepared.media_bytes
        if media_bytes and self.queue.would_wait(client):
            self._check_media(media_bytes)
        if adapter is not None:
            self._adapters.hold(adapter)
        entry = self.queue.enter(client, prepared.sequences, label, prepared.priority, media_bytes)
        if entry is None:
            if adapter is not None:
                self._adapters.release(adapter)
            raise self.queue_full()
        return entry

    def _check_media(self, media_bytes: int) -> None:
        if self.queue.waiting_media + media_bytes > MAX_WAITING_MEDIA:
            message = (
                f"Of the images in the queue {self.queue.waiting_media} bytes wait; with this request's {media_bytes} "
                f"they would be more than {MAX_WAITING_MEDIA}."
            )
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)

    def leave(self, entry: QueueEntry, adapter: Adapter | None) -> None:
        """Give back what `enter` took."""
        self.queue.leave(entry)
        if adapter is not None:
            self._adapters.release(adapter)
