"""Turns measurements into Markdown: medians with their spread, relative to vLLM's own server, and a chart."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

Figures = dict[str, Any]

REFERENCE = "vLLM's server"
CHART_STREAMS = 64
WIRES = {
    "bare": "",
    "sse": "SSE",
    "sse-h2": "SSE, HTTP/2",
    "channel": "channel, a socket each",
    "channel-one": "channel, one socket",
}


def tables(found: list[Figures]) -> str:
    """All tables: CPU per token, what came out, and CPU per request."""
    streamed = [figures for figures in found if figures["tokens_each"] > 1]
    single = [figures for figures in found if figures["tokens_each"] == 1]
    counts = sorted({figures["streams"] for figures in streamed})
    parts = [
        _table(streamed, counts, "CPU of the API server per token, in µs", _us_per_token, decimals=1, is_cost=True),
        _table(streamed, counts, "Tokens per second", lambda one: one["tokens_per_s"], decimals=0),
        _table(streamed, counts, "Time to the first token, in ms, median", lambda one: one["first_ms_p50"]),
        _table(streamed, counts, "Time to the first token, in ms, 95th percentile", lambda one: one["first_ms_p95"]),
        _table(streamed, counts, "Gap between tokens, in ms, median", lambda one: one["gap_ms_p50"]),
        _table(streamed, counts, "Gap between tokens, in ms, 95th percentile", lambda one: one["gap_ms_p95"]),
        _table(streamed, counts, "Tokens per chunk", _tokens_per_chunk, decimals=2),
    ]
    if single:
        count = single[0]["streams"]
        parts.append(
            _table(single, [count], "CPU per request, in ms: answers of one token", _ms_per_request, is_cost=True)
        )
    return "\n".join(parts)


def chart(found: list[Figures]) -> str:
    """The CPU time per token at a middling load, as a Mermaid chart, which GitHub and GitLab draw."""
    streamed = [figures for figures in found if figures["tokens_each"] > 1]
    count = min({figures["streams"] for figures in streamed}, key=lambda one: abs(one - CHART_STREAMS))
    rows = _rows(streamed)
    values = [
        statistics.median(_us_per_token(one) for one in _those(streamed, contender, wire, count))
        for contender, wire in rows
    ]
    names = ", ".join(f'"{_name(contender, wire)}"' for contender, wire in rows)
    return f"""```mermaid
---
config:
  xyChart: {{ width: 900, height: 420 }}
---
xychart-beta horizontal
    title "CPU of the API server per token at {count} streams, in µs"
    x-axis [{names}]
    y-axis "µs" 0 --> {max(values) * 1.1:.0f}
    bar [{", ".join(f"{value:.1f}" for value in values)}]
```
"""


def _name(contender: str, wire: str) -> str:
    return ", ".join(filter(None, (contender, WIRES.get(wire, wire))))


def _us_per_token(one: Figures) -> float:
    return float(one["cpu_s"] / one["tokens"] * 1e6)


def _ms_per_request(one: Figures) -> float:
    return float(one["cpu_s"] / one["total"] * 1e3)


def _tokens_per_chunk(one: Figures) -> float:
    # The chunk with the role and the end of the stream hold none.
    others = 1 if one["wire"] in ("bare", "channel", "channel-one") else 2
    return float(one["tokens"] / max(one["chunks"] - others * one["total"], 1))


def _table(
    found: list[Figures],
    counts: list[int],
    title: str,
    value: Callable[[Figures], float],
    *,
    decimals: int = 2,
    is_cost: bool = False,
) -> str:
    many = "streams at a time" if counts[-1] > 1 else "stream"
    lines = [f"**{title}**\n", f"| {many} | " + " | ".join(map(str, counts)) + " |", "|---" * (len(counts) + 1) + "|"]
    for contender, wire in _rows(found):
        cells = []
        for count in counts:
            values = [value(one) for one in _those(found, contender, wire, count)]
            cell = _with_spread(values, decimals)
            theirs = [value(one) for one in _those(found, REFERENCE, "sse", count)]
            if is_cost and theirs and contender != REFERENCE:
                # Of each round: what else the machine did meanwhile met both.
                ratios = [own / other for own, other in zip(values, theirs, strict=False)]
                cell += f" **{statistics.median(ratios):.2f}**"
            cells.append(cell)
        lines.append(f"| {_name(contender, wire)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _rows(found: Iterable[Figures]) -> list[tuple[str, str]]:
    """Contenders with their wires, in the order in which they were measured."""
    return list(dict.fromkeys((one["contender"], one["wire"]) for one in found))


def _those(found: Iterable[Figures], contender: str, wire: str, count: int) -> list[Figures]:
    return [one for one in found if (one["contender"], one["wire"], one["streams"]) == (contender, wire, count)]


def _with_spread(values: list[float], decimals: int) -> str:
    middle = f"{statistics.median(values):.{decimals}f}"
    if len(values) < 2:
        return middle
    return f"{middle} ({min(values):.{decimals}f}–{max(values):.{decimals}f})"
