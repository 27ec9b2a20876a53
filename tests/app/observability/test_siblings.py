"""The figures of several API servers in one exposition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observability import multiprocess as siblings
from app.observability.multiprocess import Figures, Siblings, merged
from engine.sharing.meeting import Meeting


def text(requests: int, running: int, fast: int) -> str:
    return f"""\
# HELP twowire_requests_total Requests.
# TYPE twowire_requests_total counter
twowire_requests_total{{route="/v1/chat/completions"}} {requests}
# HELP twowire_websockets WebSocket connections.
# TYPE twowire_websockets gauge
twowire_websockets {requests}
# HELP vllm:num_requests_running Requests in the engine.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0"}} {running}
# HELP twowire_generation_seconds From admission to the end.
# TYPE twowire_generation_seconds histogram
twowire_generation_seconds_bucket{{le="1.0"}} {fast}
twowire_generation_seconds_bucket{{le="+Inf"}} {requests}
twowire_generation_seconds_count {requests}
twowire_generation_seconds_sum {requests}
"""


def samples(exposition: bytes) -> dict[tuple[str, str], float]:
    """By name and API server, which is "" where none is named; of a histogram's buckets the last."""
    families = text_string_to_metric_families(exposition.decode())
    return {
        (sample.name, sample.labels.get("api_server", "")): sample.value
        for family in families
        for sample in family.samples
    }


def test_each_figure_says_whose_it_is() -> None:
    found = samples(merged({0: Figures((1.0,), text(3, 0, 1)), 1: Figures((2.0,), text(5, 2, 4))}))
    assert found["twowire_requests_total", "0"] == 3
    assert found["twowire_requests_total", "1"] == 5
    assert found["twowire_websockets", "1"] == 5
    assert found["twowire_generation_seconds_count", "0"] == 3


def test_the_state_of_the_engines_queue_is_told_once_by_who_heard_of_it_last() -> None:
    name = "vllm:num_requests_running"
    first, second = text(3, 7, 1), text(5, 2, 4)
    told = [samples(merged({0: Figures((told_at,), first), 1: Figures((2.0,), second)})) for told_at in (1.0, 3.0)]
    assert [{key: value for key, value in found.items() if key[0] == name} for found in told] == [
        {(name, ""): 2},
        {(name, ""): 7},
    ]


def test_the_state_of_each_rank_is_told_by_who_heard_of_that_rank_last() -> None:
    name = "vllm:num_requests_running"

    def by_rank(*running: int) -> str:
        samples = "".join(f'{name}{{engine="{rank}"}} {count}\n' for rank, count in enumerate(running))
        return f"# TYPE {name} gauge\n{samples}"

    figures = {0: Figures((9.0, 1.0), by_rank(4, 0)), 1: Figures((2.0, 8.0), by_rank(0, 3))}
    (family,) = text_string_to_metric_families(merged(figures).decode())
    assert {sample.labels["engine"]: sample.value for sample in family.samples} == {"0": 4, "1": 3}
    assert all("api_server" not in sample.labels for sample in family.samples)


def test_one_without_an_engine_tells_nothing_of_it() -> None:
    found = samples(merged({0: Figures((), text(3, 7, 1)), 1: Figures((2.0,), text(5, 2, 4))}))
    assert found["vllm:num_requests_running", ""] == 2


def test_a_family_is_described_once() -> None:
    lines = merged({0: Figures((1.0,), text(3, 0, 1)), 1: Figures((2.0,), text(5, 2, 4))}).decode().splitlines()
    described = [line for line in lines if line.startswith("# TYPE")]
    assert len(described) == len(set(described)) == 4


@pytest.fixture
def meetings(tmp_path: Path) -> Iterator[list[Meeting]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Meeting.at(tmp_path / str(number))) for number in range(2)]


async def test_each_asks_the_other(meetings: list[Meeting]) -> None:
    pair = [
        Siblings(number, meetings, lambda number=number: Figures((float(number),), text(10 + number, number, 1)))  # type: ignore[misc]  # mypy does not know the default's type
        for number in range(2)
    ]
    answering = [asyncio.create_task(one.answer()) for one in pair]
    try:
        for one in pair:
            found = samples(await one.exposition())
            assert found["twowire_requests_total", "0"] == 10
            assert found["twowire_requests_total", "1"] == 11
            assert found["vllm:num_requests_running", ""] == 1
    finally:
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


async def test_one_that_does_not_answer_is_left_out(meetings: list[Meeting], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "ANSWER_TIMEOUT_S", 0.05)
    one = Siblings(0, meetings, lambda: Figures((1.0,), text(3, 0, 1)))
    found = samples(await one.exposition())
    assert {api_server for _, api_server in found} == {"0", ""}
