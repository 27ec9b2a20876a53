"""Gathers the figures of several API servers, so that each can show those of all.

Does not know what the figures are, but for one thing: vLLM tells the state of its queue to one API server at a time, so
of that only the newest is true.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from engine.sharing.meeting import Meeting, accepted

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S = 2.0
"""How long another API server may take to tell its figures; without an answer they are missing."""
LABEL = "api_server"
ENGINES_OWN = "vllm:"


@dataclass(frozen=True, slots=True)
class Figures:
    """One API server's exposition, and when it last heard from the engine (`time.monotonic`)."""

    told_at: float
    text: str


class Siblings:
    """One API server among its like."""

    def __init__(self, index: int, meetings: list[Meeting], own: Callable[[], Figures]) -> None:
        """`meetings` by the API server's number."""
        self._index = index
        self._meetings = meetings
        self._own = own

    async def answer(self) -> None:
        """Tell the others our figures when they ask; for ever."""
        async for connection in accepted(self._meetings[self._index]):
            try:
                _, writer = await asyncio.open_unix_connection(sock=connection)
                figures = self._own()
                writer.write(f"{figures.told_at}\n{figures.text}".encode())
                writer.close()
            except Exception:
                # The next one is to be answered all the same.
                log.exception("figures_not_told")

    async def exposition(self) -> bytes:
        """The figures of all, each with the number of its API server, in Prometheus' text format."""
        asked = [self._ask(number) for number in range(len(self._meetings))]
        answers = await asyncio.gather(*asked)
        told = {number: figures for number, figures in enumerate(answers) if figures is not None}
        # It takes tens of milliseconds, which no stream is to wait for.
        return await asyncio.to_thread(merged, told)

    async def _ask(self, number: int) -> Figures | None:
        if number == self._index:
            return self._own()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._meetings[number].path)
                try:
                    told_at, _, text = (await reader.read(-1)).decode().partition("\n")
                finally:
                    writer.close()
                return Figures(float(told_at), text)
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("figures_missing", of=number, error=repr(error))
            return None


def merged(figures: dict[int, Figures]) -> bytes:
    """One exposition of several."""
    newest = max(figures, key=lambda number: figures[number].told_at)
    families: dict[str, Metric] = {}
    for number, one in figures.items():
        for family in text_string_to_metric_families(one.text):
            is_engines_state = family.name.startswith(ENGINES_OWN) and family.type == "gauge"
            if is_engines_state and number != newest:
                continue
            label = {} if is_engines_state else {LABEL: str(number)}
            merged_family = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                merged_family.samples.append(sample._replace(labels={**sample.labels, **label}))
    return generate_latest(_Families(families.values()))


@dataclass(frozen=True, slots=True)
class _Families:
    """What a registry is to the library's writer."""

    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families
