"""The tools benchmark: its answers are as intended, and it has a row per format."""

from __future__ import annotations

from bench.tools import BEFORE, measured, table


async def test_each_format_has_a_row() -> None:
    costs = await measured(1)
    lines = table(costs).splitlines()
    assert [line.split("`")[1] for line in lines[3:]] == list(BEFORE)
    assert all(cost > 0 for of_case in costs.values() for cost in of_case)
