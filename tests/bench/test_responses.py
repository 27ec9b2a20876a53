"""The bench of APIs: a ratio is that of its own round, and each API has a row."""

from __future__ import annotations

import orjson

from bench.responses import APIS, table


def test_ratios_are_those_of_their_own_rounds() -> None:
    rounds = [(10.0, 1.0), (20.0, 4.0), (40.0, 2.0)]
    costs = {api.name: [(long * factor, short * 2) for long, short in rounds] for factor, api in enumerate(APIS, 1)}
    costs[APIS[0].name] = rounds
    lines = table(costs).splitlines()
    assert lines[2] == "| chat | 20.0 | 1.00 | 2.00 | 1.00 |"
    assert lines[3] == "| Responses, stored | 40.0 | 2.00 | 4.00 | 2.00 |"
    assert len(lines) == 2 + len(APIS)


def test_requests_are_whole() -> None:
    for api in APIS:
        head, _, body = api.request(5).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert orjson.loads(body)[api.limit] == 5
