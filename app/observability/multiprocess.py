"""Merges the metrics of several API servers, so that each of them can show the metrics of all.

Each of vLLM's ranks reports the state of its queue to one API server at a time, so of its gauges only the newest are
shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from engine.sharing.meeting import Meeting, accepted

log = structlog.get_logger(__name__)

ANSWER_TIMEOUT_S = 2.0
"""How long another API server may take to answer. Without an answer, its metrics are missing."""
LABEL = "api_server"
ENGINES_OWN = "vllm:"
RANK_LABEL = "engine"


@dataclass(frozen=True, slots=True)
class Figures:
    """One API server's metrics as text, and when each of the engine's ranks last reported to it (`time.monotonic`)."""

    reported_at: Sequence[float]
    """Empty while there is no engine."""
    text: str

    def reported_by(self, rank: str) -> float:
        """When a rank reported last; whichever, where none is named."""
        if not rank.isdecimal():
            return max(self.reported_at, default=0.0)
        number = int(rank)
        return self.reported_at[number] if number < len(self.reported_at) else 0.0


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
                reported_at = " ".join(map(str, figures.reported_at))
                writer.write(f"{reported_at}\n{figures.text}".encode())
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
                return Figures(tuple(map(float, reported_at.split())), text)
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("figures_missing", of=number, error=repr(error))
            return None


def merged(figures: dict[int, Figures]) -> bytes:
    """The metrics of several API servers, by number, as one text."""
    families: dict[str, Metric] = {}
    newest: dict[tuple[str, str], _Reported] = {}
    for number, one in figures.items():
        for family in text_string_to_metric_families(one.text):
            merged_family = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            if family.name.startswith(ENGINES_OWN) and family.type == "gauge":
                for rank, reported in _by_rank(family, one).items():
                    known = newest.get((family.name, rank))
                    if known is None or reported.at > known.at:
                        newest[family.name, rank] = reported
            else:
                for sample in family.samples:
                    merged_family.samples.append(sample._replace(labels={**sample.labels, LABEL: str(number)}))
    for (name, _), reported in newest.items():
        families[name].samples += reported.samples
    return generate_latest(_Families(families.values()))


@dataclass(slots=True)
class _Reported:
    """A rank's samples of one gauge, and when it reported them."""

    at: float
    samples: list[Sample]


def _by_rank(family: Metric, figures: Figures) -> dict[str, _Reported]:
    found: dict[str, _Reported] = {}
    for sample in family.samples:
        rank = sample.labels.get(RANK_LABEL, "")
        found.setdefault(rank, _Reported(figures.reported_by(rank), [])).samples.append(sample)
    return found


@dataclass(frozen=True, slots=True)
class _Families:
    """All that the library's writer needs of a registry."""

    families: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families
