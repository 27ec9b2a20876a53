"""Opens the engine streams of a request, and reads several as one, for a completion with a list of prompts.

Only such requests are read through here, so a task per step is affordable.
"""

from __future__ import annotations

import asyncio
from typing import Any

from engine.adapter_registry import Adapters
from engine.api import EngineStream, FastPath, Prepared, TextEngine
from protocol.output import Delta


async def open_streams(engine: TextEngine, prepared: Prepared, generation_id: str, adapters: Adapters) -> EngineStream:
    """Put all prompts of a request into the engine, to be read as one stream.

    Raises `TwowireError` if its adapter is no longer loaded, or the engine refuses; then none is left open.
    """
    if prepared.adapter is not None:
        adapters.check_loaded(prepared.adapter)
    streams: list[EngineStream] = []
    try:
        for number, prompt in enumerate(prepared.prompts):
            streams.append(await engine.open(prompt, f"{generation_id}-{number}"))
    except BaseException:
        for stream in streams:
            await stream.close()
        raise
    if len(streams) == 1:
        return streams[0]
    return MergedStream(streams, prepared.n)


class MergedStream:
    """Reads all `streams` concurrently. Ends when the last of them ends; fails when the first of them fails.

    The deltas of stream `p` get the choice index `p * n + i`.
    """

    def __init__(self, streams: list[EngineStream], n: int) -> None:
        self._streams = streams
        self._n = n
        self._steps: dict[asyncio.Task[list[Delta] | None], int] = {}
        self._woken: asyncio.Future[None] | None = None
        self._started = False

    @property
    def cached_tokens(self) -> int:
        return sum(stream.cached_tokens for stream in self._streams)

    @property
    def scheduled_at(self) -> float | None:
        return min((at for stream in self._streams if (at := stream.scheduled_at) is not None), default=None)

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        if not self._started:
            self._started = True
            for position in range(len(self._streams)):
                self._read(position)
        if not self._steps:
            return None
        self._woken = asyncio.get_running_loop().create_future()
        waited: set[asyncio.Future[Any]] = {*self._steps, self._woken}
        done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        merged: list[Delta] = []
        for task in [task for task in self._steps if task in done]:
            position = self._steps.pop(task)
            deltas = task.result()
            if deltas is None:
                continue
            for delta in deltas:
                delta.index += position * self._n
                merged.append(delta)
            self._read(position)
        return merged if merged or self._steps else None

    def _read(self, position: int) -> None:
        self._steps[asyncio.create_task(self._streams[position].next())] = position

    def wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def cancel(self) -> None:
        for stream in self._streams:
            await stream.cancel()

    async def close(self) -> None:
        steps, self._steps = list(self._steps), {}
        for stream in self._streams:
            await stream.close()
        # A closed stream ends its reader. Retrieve the results, or asyncio logs them as never retrieved.
        await asyncio.gather(*steps, return_exceptions=True)
        self.wake()
