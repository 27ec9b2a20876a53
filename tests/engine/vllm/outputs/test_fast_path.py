"""The fast path out of vLLM, on a state with the attributes that vLLM's has; that it has them, and that the text is the
same, is tested with vLLM itself in `tests/live/real/processes/test_fast_path.py`."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from engine.vllm.outputs.fast_path import RequestFastPath, fast_path_of, quicken
from protocol.errors import Fault, TwowireError
from tests.engine.vllm.outputs.fast_path_fakes import Detokenizer, Opened, State, Stepped, output_of
from tests.engine.vllm.outputs.test_stream import FakeCollector


async def test_steps_take_the_fast_path_while_somebody_waits() -> None:
    opened = Opened()
    reader = await opened.waiting()
    opened.state.step("b")
    opened.state.step("c")
    assert opened.taken == [("b", 1), ("c", 1)]
    assert not reader.done(), "nobody was woken"
    opened.state.step("d", "stop")
    assert await reader == "d", "the last step is the reader's"
    assert await opened.next() is None


async def test_plain_tokens_go_past_vllms_loop_and_are_counted_as_it_counts_them() -> None:
    opened = Stepped()
    reader = await opened.waiting()
    opened.outputs(output_of("one", "b"), output_of("another", "x"), timestamp=1.0)
    opened.outputs(output_of("one", "c"), timestamp=1.5)
    assert opened.taken == [("b", 1), ("c", 1)]
    assert opened.processor.dealt_with == ["another"]
    assert opened.stats.num_generation_tokens == opened.state.stats.num_generation_tokens == 2
    assert opened.stats.inter_token_latencies_iter == [1.0, 0.5]
    assert opened.state.detokenizer.token_ids == [ord("b"), ord("c")]
    assert not reader.done()
    opened.outputs(output_of("one", "d", finish_reason="length"))
    assert await reader == "d"
    assert opened.processor.dealt_with == ["another", "one"]
    assert "twowire_fast_path" not in vars(opened.state)


@pytest.mark.parametrize("text", ["", "d"])
async def test_an_abort_by_the_engine_never_takes_the_fast_path(text: str) -> None:
    opened = Stepped()
    reader = await opened.waiting()
    opened.outputs(output_of("one", "b"))
    opened.outputs(output_of("one", text, finish_reason="abort"))
    assert await reader == text, "its token is still counted"
    with pytest.raises(TwowireError) as raised:
        await opened.next()
    assert raised.value.fault is Fault.ENGINE_DIED
    assert opened.taken == [("b", 1)]
    assert opened.processor.dealt_with == ["one"]


@pytest.mark.parametrize(
    ("state", "output"),
    [
        ({}, output_of("one", "bc")),
        ({}, output_of("one", "")),
        ({}, output_of("one", "b", events=[object()])),
        ({}, output_of("one", "b", num_nans_in_logits=1)),
        ({}, output_of("one", "b", routed_experts=object())),
        ({}, output_of("one", "b", new_sampling_mask=object())),
        ({"is_prefilling": True}, output_of("one", "b")),
    ],
)
async def test_what_is_no_plain_token_is_left_to_vllms_loop(state: dict[str, Any], output: Any) -> None:
    opened = Stepped(**state)
    reader = await opened.waiting()
    opened.outputs(output)
    assert opened.processor.dealt_with == ["one"]
    assert not opened.stats.inter_token_latencies_iter
    reader.cancel()


async def test_a_request_with_stop_strings_is_left_to_vllms_loop() -> None:
    detokenizer = Detokenizer()
    detokenizer.stop = ["end"]
    opened = Stepped(detokenizer=detokenizer)
    reader = await opened.waiting()
    opened.outputs(output_of("one", "b"))
    assert opened.processor.dealt_with == ["one"]
    assert opened.taken == [("b", 1)]
    reader.cancel()


async def test_a_plain_token_that_the_sink_refuses_is_the_readers() -> None:
    opened = Stepped()
    reader = await opened.waiting()
    opened.outputs(output_of("one", "b"))
    opened.takes = False
    opened.outputs(output_of("one", "c"))
    assert await reader == "c"
    assert opened.taken == [("b", 1)]
    assert opened.processor.dealt_with == []


async def test_a_sink_that_raises_on_a_plain_token_ends_its_own_stream_alone() -> None:
    opened = Stepped()
    reader = await opened.waiting()

    def broken(text: str, tokens: int) -> bool:
        raise RuntimeError("broken")

    opened.fast_path.sink = broken  # type: ignore[union-attr]  # it has one
    opened.outputs(output_of("one", "b"), output_of("another", "x"))
    assert opened.processor.dealt_with == ["another"]
    with pytest.raises(TwowireError, match="broken"):
        await reader


@given(st.lists(st.floats(0, 20)))
def test_a_quick_histogram_counts_what_the_librarys_own_counts(values: list[float]) -> None:
    registry = CollectorRegistry()
    own, quick = (Histogram(name, "", buckets=(0.1, 0.5, 1, 5), registry=registry) for name in ("own", "quick"))
    quicken(quick)
    for value in values:
        own.observe(value)
        quick.observe(value)
    told = generate_latest(registry).decode()
    lines = [line for line in told.splitlines() if line.startswith("own_") and "created" not in line]
    assert lines
    assert all(line.replace("own_", "quick_", 1) in told for line in lines)


async def test_the_first_step_is_the_readers() -> None:
    opened = Opened()
    reader = asyncio.create_task(opened.next())
    await asyncio.sleep(0)
    opened.state.step("a")
    assert await reader == "a"
    assert not opened.taken


async def test_what_the_sink_refuses_is_the_readers_and_nothing_is_lost() -> None:
    opened = Opened()
    reader = await opened.waiting()
    opened.state.step("b")
    opened.takes = False
    opened.state.step("c")
    # It does not wait in `next` any more: steps wait for it in the queue, and those behind them too.
    opened.takes = True
    opened.queue.output.outputs[0].text += "d"
    assert await reader == "cd"
    assert opened.taken == [("b", 1)]


async def test_nothing_overtakes_what_waits_in_the_queue() -> None:
    opened = Opened()
    reader = await opened.waiting()
    opened.takes = False
    opened.state.step("b")
    opened.takes = True
    waiting = opened.queue.output
    opened.state.step("c")
    assert not opened.taken
    assert waiting.outputs[0].text == "b"
    reader.cancel()


async def test_no_step_takes_the_fast_path_of_a_reader_that_has_gone() -> None:
    opened = Opened()
    reader = await opened.waiting()
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    opened.state.step("b")
    assert not opened.taken
    assert await opened.next() == "b"


async def test_a_close_ends_it_and_leaves_no_cycle() -> None:
    opened = Opened()
    reader = await opened.waiting()
    await opened.stream.close()
    assert await reader is None
    assert "make_request_output" not in vars(opened.state)


async def test_a_sink_that_raises_ends_its_own_stream_alone() -> None:
    opened = Opened()
    await opened.waiting()

    def broken(text: str, tokens: int) -> bool:
        raise RuntimeError("broken")

    opened.fast_path.sink = broken  # type: ignore[union-attr]  # it has one
    opened.state.step("b")
    with pytest.raises(TwowireError, match="broken"):
        await opened.next()


@pytest.mark.parametrize(
    "more",
    [
        {"parent_req": object()},
        {"stream_interval": 4},
        {"streaming_input": True},
        {"output_kind": SimpleNamespace(name="CUMULATIVE")},
        {"logprobs_processor": SimpleNamespace(logprobs=[], prompt_logprobs=None)},
        {"logprobs_processor": SimpleNamespace(logprobs=None, prompt_logprobs=[])},
        {"logprobs_processor": None},
        {"detokenizer": None},
    ],
)
def test_what_is_not_plain_goes_the_long_way(more: dict[str, Any]) -> None:
    state = State(**more)
    assert fast_path_of(state, state.queue) is None
    assert "make_request_output" not in vars(state)


def test_a_request_that_has_ended_has_none() -> None:
    assert fast_path_of(None, FakeCollector()) is None


def test_a_plain_one_has_one() -> None:
    state = State()
    assert isinstance(fast_path_of(state, state.queue), RequestFastPath)
