"""The embedder's process: tokenizes texts, computes them in batches, and returns their vectors or scores.

Run by `engine.embeddings.process` as `python -m engine.embeddings.worker FD CONFIG`; FD is its end of a socket pair. It
exits when the other end closes, however the server ended. One thread reads and tokenizes; the others compute a batch
each. All of them release the GIL meanwhile.

Messages in: `embed` a slice of a request's texts, `cancel` a request. Messages out: `stage`, then `ready` or `failed`;
`done` for a batch, `too_long` and `broken` for a slice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import threading
import traceback
from typing import Any, NamedTuple

import orjson

from engine.api import EngineStartError
from engine.embeddings.api import EmbedderConfig
from engine.embeddings.batcher import Batcher, Text
from engine.embeddings.cpu_shares import Processors, processors_of
from engine.processes import messages

BATCH_TOKENS = {"cpu": 1024, "other": 16_384}
"""Enough to keep the device busy; larger batches only make others wait longer."""


class Item(NamedTuple):
    """A text in the queue: its slice, its place in it, its tokens, and the options of its request."""

    slice: int
    place: int
    tokens: Any
    wanted: Any


class Worker:
    """See the module."""

    def __init__(
        self,
        wire: socket.socket,
        models: dict[str, Any],
        batch_tokens: int,
        wanted_type: Any,
        processors: Processors,
    ) -> None:
        self._wire = wire
        self._models = models
        self._processors = processors
        self._busy: set[int] = set()
        self._has_machine = True
        """If not, one batch is computed at a time, by all processors: its threads wait for each other after each step,
        which leaves more to the chats than threads that never wait."""
        self._wanted_type = wanted_type
        self._batches: Batcher[Item] = Batcher(batch_tokens)
        self._changed = threading.Condition()
        self._sending = threading.Lock()

    def send(self, header: dict[str, Any], parts: list[bytes] | None = None) -> None:
        """Send a message to the server; any thread may."""
        with self._sending:
            self._wire.sendall(messages.encoded(header, parts or ()))

    def read(self) -> None:
        """Read messages until the server is gone."""
        while (message := messages.read_blocking(self._wire)) is not None:
            header = message[0]
            if header["type"] == "cancel":
                with self._changed:
                    self._batches.cancel(header["client"], header["request"])
                continue
            try:
                self._take(header)
            except Exception as error:
                self.send({"type": "broken", "slices": [header["slice"]], "reason": reason_of(error)})

    def _take(self, header: dict[str, Any]) -> None:
        wanted = self._wanted_type(**header["wanted"])
        name = header["model"]
        model = self._models[name]
        tokens = model.tokens(header["texts"], wanted)
        for place, one in enumerate(tokens):
            if one.is_too_long:
                self.send({"type": "too_long", "slice": header["slice"], "place": place, "tokens": len(one.ids)})
                return
        texts = [
            Text(header["request"], (name, one.prompt), len(one.ids), Item(header["slice"], place, one, wanted))
            for place, one in enumerate(tokens)
        ]
        with self._changed:
            self._has_machine = header["has_machine"]
            self._batches.add(header["client"], texts)
            self._changed.notify_all()

    def compute(self, lane: int = 0) -> None:
        """Compute batches until the server is gone. One thread per lane runs this."""
        # A batch may end just after the server has; the reader then ends the process.
        with contextlib.suppress(OSError):
            while True:
                batch = self._next(lane)
                try:
                    answer = self._compute(batch)
                finally:
                    # Before sending: a client that asks again at once must find the processors free.
                    with self._changed:
                        self._busy.discard(lane)
                self.send(*answer)

    def _next(self, lane: int) -> list[Text[Item]]:
        with self._changed:
            # Lane 0 alone may use all processors, and the other lanes only help it: OpenMP keeps a pool of threads for
            # each thread that uses several, and once there are more than processors, they sleep after every step.
            while not ((lane == 0 or (0 in self._busy and self._has_machine)) and (batch := self._batches.next())):
                self._changed.wait()
            has_all = not self._busy and (self._batches.is_empty or not self._has_machine)
            self._busy.add(lane)
            self._changed.notify_all()
        self._processors.use(self._processors.count if has_all else self._processors.share)
        return batch

    def _compute(self, batch: list[Text[Item]]) -> tuple[dict[str, Any], list[bytes]]:
        group: Any = batch[0].group
        items = [text.item for text in batch]
        try:
            pieces = self._models[group[0]].compute([one.tokens for one in items], [one.wanted for one in items])
        except Exception as error:
            slices = sorted({one.slice for one in items})
            return {"type": "broken", "slices": slices, "reason": reason_of(error)}, []
        # JSON has no NaN. A model gives it for few texts, if at all, and the others of the batch are not to blame.
        if broken := {item.slice for item, piece in zip(items, pieces, strict=True) if not piece}:
            self.send(
                {"type": "broken", "slices": sorted(broken), "reason": "the model gives values that are no numbers"}
            )
            whole = [(item, piece) for item, piece in zip(items, pieces, strict=True) if item.slice not in broken]
            items, pieces = [item for item, _ in whole], [piece for _, piece in whole]
        parts = [
            (item.slice, item.place, len(item.tokens.ids), len(piece))
            for item, piece in zip(items, pieces, strict=True)
        ]
        return {"type": "done", "parts": parts}, pieces


def reason_of(error: BaseException) -> str:
    """Where an error came from, for the log. Without its message, which might quote a text."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return f"{type(error).__name__} at " + ", ".join(f"{frame.filename}:{frame.lineno}" for frame in frames)


LOWEST_NICE = 19


def lower_priority(nice: int) -> None:
    """Lower this process's priority by `nice`; at 19, others never wait for it."""
    os.nice(nice)
    if nice == LOWEST_NICE and hasattr(os, "SCHED_IDLE"):
        # At any niceness, Linux lets a process finish its time slice of some milliseconds before one that has just
        # woken; each step of the chat engine would wait for that.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(number: int, config: EmbedderConfig) -> None:
    """Load the models, then serve until the server is gone."""
    lower_priority(config.nice)
    wire = socket.socket(fileno=number)

    def tell(header: dict[str, Any]) -> None:
        wire.sendall(messages.encoded(header))

    tell({"type": "stage", "stage": "importing sentence-transformers"})
    try:
        from engine.embeddings import loading
        from engine.embeddings.models import Wanted

        tell({"type": "stage", "stage": "loading the models"})
        models, device = loading.load_models(config)
    except EngineStartError as error:
        tell({"type": "failed", "reason": str(error), "configured": True})
        return
    except Exception as error:
        traceback.print_exc()
        tell({"type": "failed", "reason": f"{type(error).__name__}: {error}"[:300], "configured": False})
        return
    batch_tokens = config.batch_tokens or BATCH_TOKENS.get(device, BATCH_TOKENS["other"])
    processors = processors_of(device, loading.get_threads(), loading.set_threads)
    worker = Worker(wire, models, batch_tokens, Wanted, processors)
    cards = {name: dataclasses.asdict(model.card) for name, model in models.items()}
    tell({"type": "ready", "cards": cards, "device": device})
    threading.Thread(target=read_and_leave, args=(worker,), name="reader", daemon=True).start()
    for lane in range(1, processors.lanes):
        threading.Thread(target=worker.compute, args=(lane,), name=f"lane-{lane}", daemon=True).start()
    worker.compute()


def read_and_leave(worker: Worker) -> None:
    """Read until the server is gone, then end the process."""
    try:
        worker.read()
    finally:
        # At once: the other threads may be computing batches that nobody waits for.
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), EmbedderConfig(**orjson.loads(sys.argv[2])))
