"""Merges the metrics of several API servers, so that each of them can show the metrics of all.

vLLM reports the state of its queue to one API server at a time, so of its gauges only the newest are shown.
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
"""How long another API server may take to answer. Without an answer, its metrics are missing."""
LABEL = "api_server"
ENGINES_OWN = "vllm:"


@dataclass(frozen=True, slots=True)
class Figures:
    """One API server's metrics as text, and when the engine last reported to it (`time.monotonic`)."""

    reported_at: float
    text: str


class Siblings:
    """One of several API servers, and how it reaches the others."""

    def __init__(self, index: int, meetings: list[Meeting], own: Callable[[], Figures]) -> None:
        """`meetings` are in the order of the API servers' numbers; `own` gives this server's figures."""
        self._index = index
        self._meetings = meetings
        self._own = own

    async def answer(self) -> None:
        """Send this server's figures to the others whenever they ask. Never returns."""
        async for connection in accepted(self._meetings[self._index]):
            try:
                _, writer = await asyncio.open_unix_connection(sock=connection)
                figures = self._own()
                writer.write(f"{figures.reported_at}\n{figures.text}".encode())
                writer.close()
            except Exception:
                # The next request must still be answered.
                log.exception("figures_not_told")

    async def exposition(self) -> bytes:
        """The metrics of all API servers, each labelled with its server's number, in Prometheus's text format."""
        asked = [self._ask(number) for number in range(len(self._meetings))]
        answers = await asyncio.gather(*asked)
        received = {number: figures for number, figures in enumerate(answers) if figures is not None}
        # This takes tens of milliseconds, which must not delay any stream.
        return await asyncio.to_thread(merged, received)

    async def _ask(self, number: int) -> Figures | None:
        if number == self._index:
            return self._own()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._meetings[number].path)
                try:
                    reported_at, _, text = (await reader.read(-1)).decode().partition("\n")
                finally:
                    writer.close()
                return Figures(float(reported_at), text)
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("figures_missing", of=number, error=repr(error))
            return None


def merged(figures: dict[int, Figures]) -> bytes:
    """The metrics of several API servers, by number, as one text."""
    newest = max(figures, key=lambda number: figures[number].reported_at)
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
    """All that the library's writer needs of a registry."""

    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families
