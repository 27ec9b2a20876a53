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

from engine.vllm.fast_path import FastPathLoop, RequestFastPath, fast_path_of, quicken
from engine.vllm.outputs import VllmStream
from protocol.errors import Fault, TwowireError
from tests.engine.vllm.test_vllm_outputs import FakeCollector


class Detokenizer:
    """Text that is there, and how much of it has been asked for."""

    def __init__(self) -> None:
        self.output_text = ""
        self.stop: list[str] = []
        self.token_ids: list[int] = []
        self._last_output_text_offset = 0

    def decode_next(self, token_id: int) -> str:
        return chr(token_id)

    def get_next_output_text(self, finished: bool, delta: bool) -> str:
        assert delta
        start, self._last_output_text_offset = self._last_output_text_offset, len(self.output_text)
        return self.output_text[start:]


class State:
    """vLLM's `RequestState`, as far as it matters."""

    def __init__(self, **more: Any) -> None:
        self.queue = FakeCollector()
        self.parent_req = None
        self.stream_interval = 1
        self.streaming_input = False
        self.output_kind = SimpleNamespace(name="DELTA")
        self.logprobs_processor = SimpleNamespace(logprobs=None, prompt_logprobs=None)
        self.detokenizer = Detokenizer()
        self.is_prefilling = False
        self.stats = SimpleNamespace(num_generation_tokens=0, last_token_ts=0.0)
        for name, value in more.items():
            setattr(self, name, value)

    def make_request_output(self, ids: list[int], pooling: None, finish: str | None, stop: None) -> Any:
        text = self.detokenizer.get_next_output_text(finish is not None, True)
        choice = SimpleNamespace(
            index=0, text=text, token_ids=ids, finish_reason=finish, stop_reason=None, logprobs=None
        )
        return SimpleNamespace(outputs=[choice], finished=finish is not None, num_cached_tokens=0, metrics=None)

    def step(self, text: str, finish: str | None = None) -> None:
        """What vLLM's output processor does with a token."""
        self.detokenizer.output_text += text
        if output := self.make_request_output([1], None, finish, None):
            self.queue.put(output)


class Opened:
    def __init__(self, **more: Any) -> None:
        self.state = State(**more)
        self.queue = self.state.queue
        self.fast_path = fast_path_of(self.state, self.queue)
        self.taken: list[tuple[str, int]] = []
        self.takes = True
        self.stream = VllmStream(
            self.queue,
            top_count=None,
            choices=1,
            echo=None,
            drop_output=False,
            abort=self._abort,
            translate=lambda error: TwowireError(Fault.INTERNAL, str(error)),
            request_fast_path=self.fast_path,
        )

    async def _abort(self) -> None:
        self.state.step("", "abort")

    def sink(self, text: str, tokens: int) -> bool:
        if self.takes:
            self.taken.append((text, tokens))
        return self.takes

    async def next(self) -> str | None:
        async with asyncio.timeout(1):
            deltas = await self.stream.next(self.sink)
        return None if deltas is None else "".join(delta.text for delta in deltas)

    async def waiting(self) -> asyncio.Task[str | None]:
        """A reader that has had the first step, and waits."""
        self.state.step("a")
        assert await self.next() == "a"
        reader = asyncio.create_task(self.next())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return reader


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


class Processor:
    """vLLM's loop: it notes what comes to it, and deals with a token as the real one does."""

    def __init__(self, **states: State) -> None:
        self.request_states = states
        self.dealt_with: list[str] = []

    def process_outputs(self, outputs: list[Any], timestamp: float, stats: Any, weight_version: Any = None) -> None:
        for output in outputs:
            self.dealt_with.append(output.request_id)
            if state := self.request_states.get(output.request_id):
                state.step("".join(map(chr, output.new_token_ids)), output.finish_reason)


def output_of(request_id: str, text: str, **more: Any) -> Any:
    """vLLM's `EngineCoreOutput`, with the text's characters as tokens."""
    plain = {"finish_reason": None, "events": None, "num_nans_in_logits": 0}
    plain |= {"routed_experts": None, "new_sampling_mask": None}
    return SimpleNamespace(request_id=request_id, new_token_ids=list(map(ord, text)), **(plain | more))


class Stepped(Opened):
    """A reader that waits, behind vLLM's loop."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.processor = Processor(one=self.state)
        FastPathLoop(self.processor)
        self.stats = SimpleNamespace(num_generation_tokens=0, inter_token_latencies_iter=[])

    def outputs(self, *outputs: Any, timestamp: float = 1.0) -> None:
        process: Any = self.processor.process_outputs
        process(list(outputs), timestamp, self.stats, weight_version=None)


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
