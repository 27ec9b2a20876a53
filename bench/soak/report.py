"""A soak's result as Markdown."""

from __future__ import annotations

from collections import Counter

from bench.soak.ledger import FATES, Ledger
from bench.soak.server import Sample


def report(
    ledger: Ledger, samples: list[Sample], levels: tuple[float, float], counted: Counter[tuple[str, str]]
) -> str:
    """The tables, and the problems, if there are any."""
    seconds = samples[-1].at - samples[0].at
    parts = [f"{len(ledger.asks) + ledger.nameless} requests in {seconds:.0f} s\n", _kinds(ledger)]
    parts += [_sums(ledger, counted), _resources(samples, levels)]
    for window in ledger.windows:
        parts.append(f"The engine was killed, and back after {window.ended_at - window.began_at:.1f} s.\n")
    problems = ledger.problems
    parts.append("**No problems.**" if not problems else f"**{len(problems)} problems:**\n")
    parts += [f"- {problem}" for problem in problems]
    return "\n".join(parts)


def _kinds(ledger: Ledger) -> str:
    heads = [*FATES[:-1], "unheard"]
    rows = [_row(["What was asked", *heads]), "|---|" + "---:|" * len(heads)]
    for kind, ends in ledger.by_kind().items():
        rows.append(_row([kind, *(str(ends[head]) if ends[head] else "" for head in heads)]))
    return "\n".join(rows) + "\n"


def _sums(ledger: Ledger, counted: Counter[tuple[str, str]]) -> str:
    rows = [_row(["Outcome", "by `/metrics`", "by the clients"]), "|---|---:|---:|"]
    for fate, (least, server, most) in ledger.sums(counted).items():
        rows.append(_row([fate, str(server), str(least) if least == most else f"{least} to {most}"]))
    return "\n".join(rows) + "\n"


def _resources(samples: list[Sample], levels: tuple[float, float]) -> str:
    first, last = samples[0], samples[-1]
    rows = [_row(["The server held", "before", "at most", "after"]), "|---|---:|---:|---:|"]
    for name, what in (("rss_mib", "Memory, MiB"), ("files", "Open files"), ("threads", "Threads"), ("tasks", "Tasks")):
        figures = [getattr(first, name), max(getattr(one, name) for one in samples), getattr(last, name)]
        rows.append(_row([what, *(f"{figure:.0f}" for figure in figures)]))
    growth = 100 * (levels[1] / levels[0] - 1)
    return "\n".join(rows) + f"\n\nMemory under load: {levels[0]:.0f} MiB, at the end {growth:+.1f}%.\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
