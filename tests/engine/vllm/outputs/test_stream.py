"""What becomes of vLLM's outputs, without vLLM: objects with the attributes that it has."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from engine.vllm.outputs.deltas import LOGPROB_FLOOR, delta_of, token_logprobs
from engine.vllm.outputs.stream import Echo, VllmStream
from protocol.errors import Fault, TwowireError
from protocol.extras import Extras


class FakeCollector:
    """The part of vLLM's `RequestOutputCollector` that a stream uses."""

    def __init__(self) -> None:
        self.output: Any = None
        self.ready = asyncio.Event()

    def put(self, output: Any) -> None:
        self.output = output
        self.ready.set()

    def get_nowait(self) -> Any:
        output, self.output = self.output, None
        if output is not None:
            self.ready.clear()
        if isinstance(output, Exception):
            raise output
        return output


def choice(text: str, reason: str | None = None, index: int = 0, ids: tuple[int, ...] = (1,)) -> SimpleNamespace:
    return SimpleNamespace(index=index, text=text, token_ids=ids, finish_reason=reason, stop_reason=None, logprobs=None)


def output(*choices: SimpleNamespace, finished: bool = False, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(outputs=list(choices), finished=finished, num_cached_tokens=2, **({"metrics": None} | more))


class Opened:
    """A stream over a fake collector, and the aborts it asked for."""

    def __init__(self, **more: Any) -> None:
        self.queue = FakeCollector()
        self.aborts = 0
        options: dict[str, Any] = {"top_count": None, "choices": 1, "echo": None, "drop_output": False} | more
        self.stream = VllmStream(self.queue, abort=self._abort, translate=self._translate, **options)

    async def _abort(self) -> None:
        self.aborts += 1
        self.queue.put(output(choice("", "abort", ids=()), finished=True))

    def _translate(self, error: Exception) -> TwowireError:
        return TwowireError(Fault.ENGINE_DIED, str(error))


async def test_outputs_become_steps_until_the_last() -> None:
    opened = Opened()
    opened.queue.put(output(choice("a", ids=(4, 5))))
    assert [(p.text, p.tokens) for p in await opened.stream.next() or ()] == [("a", 2)]
    assert opened.stream.cached_tokens == 2
    opened.queue.put(output(choice("b", "stop"), finished=True))
    last = await opened.stream.next()
    assert last is not None
    assert last[0].finish_reason == "stop"
    assert await opened.stream.next() is None
    await opened.stream.close()
    assert opened.aborts == 0, "what has ended need not be aborted"


async def test_a_close_ends_the_reader_and_aborts_once() -> None:
    opened = Opened()
    reading = asyncio.ensure_future(opened.stream.next())
    await asyncio.sleep(0)
    await opened.stream.close()
    await opened.stream.close()
    async with asyncio.timeout(1):
        assert await reading is None
    assert opened.aborts == 1


async def test_an_abort_that_nobody_asked_for_is_the_death_of_the_engine() -> None:
    opened = Opened()
    opened.queue.put(output(choice("", "abort", ids=()), finished=True))
    with pytest.raises(TwowireError) as raised:
        await opened.stream.next()
    assert raised.value.fault is Fault.ENGINE_DIED
    assert raised.value.retry_after_s


@pytest.mark.parametrize("top_count", [None, 0], ids=["plain", "logprobs"])
async def test_what_was_made_before_such_an_abort_still_comes(top_count: int | None) -> None:
    opened = Opened(top_count=top_count)
    # vLLM merges what has not been read yet with the abort.
    opened.queue.put(output(choice("a", "abort", ids=(4, 5)), finished=True))
    assert [(p.text, p.tokens, p.finish_reason) for p in await opened.stream.next() or ()] == [("a", 2, None)]
    with pytest.raises(TwowireError, match="died"):
        await opened.stream.next()


async def test_one_aborted_choice_of_several_is_an_error_and_ends_the_others() -> None:
    opened = Opened(choices=3)
    opened.queue.put(output(choice("a", "stop"), choice("b", "abort", index=1), choice("c", index=2)))
    deltas = await opened.stream.next()
    assert [(p.text, p.finish_reason) for p in deltas or ()] == [("a", "stop"), ("b", None), ("c", None)]
    with pytest.raises(TwowireError, match="died"):
        await opened.stream.next()
    await opened.stream.close()
    assert opened.aborts == 1, "the third choice still runs"


async def test_an_echo_alone_is_not_made_complete_by_an_abort() -> None:
    opened = Opened(echo=Echo("once", "o"), drop_output=True)
    opened.queue.put(output(choice("", "abort", ids=()), finished=True, prompt_token_ids=[1], prompt_logprobs=None))
    with pytest.raises(TwowireError, match="died"):
        await opened.stream.next()


async def test_a_cancel_ends_the_stream_without_an_error() -> None:
    opened = Opened()
    await opened.stream.cancel()
    assert await opened.stream.next() is None


async def test_a_wake_is_an_empty_step_and_nothing_is_lost() -> None:
    opened = Opened()
    reading = asyncio.ensure_future(opened.stream.next())
    await asyncio.sleep(0)
    opened.stream.wake()
    async with asyncio.timeout(1):
        assert await reading == []
    opened.queue.put(output(choice("a")))
    opened.stream.wake()
    assert [delta.text for delta in await opened.stream.next() or ()] == ["a"]


async def test_an_error_is_translated_and_ends_the_stream() -> None:
    opened = Opened()
    opened.queue.put(RuntimeError("gone"))
    with pytest.raises(TwowireError, match="gone"):
        await opened.stream.next()
    assert await opened.stream.next() is None


async def test_a_choice_that_failed_in_the_engine_is_an_error() -> None:
    opened = Opened()
    opened.queue.put(output(choice("", "error"), finished=True))
    with pytest.raises(TwowireError):
        await opened.stream.next()


async def test_an_echo_comes_first_for_every_choice_and_counts_no_tokens() -> None:
    opened = Opened(choices=2, echo=Echo("once", "o"))
    opened.queue.put(output(choice("a"), choice("b", index=1), prompt_token_ids=[1], prompt_logprobs=None))
    deltas = await opened.stream.next()
    assert deltas is not None
    assert [(p.index, p.text, p.tokens) for p in deltas] == [(0, "once", 0), (1, "once", 0), (0, "a", 1), (1, "b", 1)]


async def test_an_echo_alone_drops_the_token_that_the_engine_had_to_make() -> None:
    opened = Opened(echo=Echo("once", "o"), drop_output=True)
    opened.queue.put(output(choice("X", "length"), finished=True, prompt_token_ids=[1], prompt_logprobs=None))
    deltas = await opened.stream.next()
    assert deltas is not None
    assert [(p.text, p.tokens, p.finish_reason) for p in deltas] == [("once", 0, None), ("", 0, "length")]


def logprob(value: float, rank: int, text: str | None) -> SimpleNamespace:
    return SimpleNamespace(logprob=value, rank=rank, decoded_token=text)


def test_the_sampled_token_is_not_among_the_top_when_it_was_unlikely() -> None:
    position = {9: logprob(-3.0, 7, "z"), 1: logprob(-0.1, 1, "a"), 2: logprob(float("-inf"), 2, None)}
    (token,) = token_logprobs([9], [position], 2)
    assert (token.token, token.logprob) == ("z", -3.0)
    assert [(top.token, top.logprob) for top in token.top] == [("a", -0.1), ("", LOGPROB_FLOOR)]
    (without,) = token_logprobs([9], [position], 0)
    assert without.top == ()


@pytest.mark.parametrize(("theirs", "ours"), [("stop", "stop"), ("length", "length"), ("repetition", "stop")])
def test_only_openais_finish_reasons_leave(theirs: str, ours: str) -> None:
    assert delta_of(choice("", theirs), None).finish_reason == ours


async def test_ids_are_reported_with_their_tokens_and_the_prompts_first() -> None:
    opened = Opened(extras=Extras(return_token_ids=True))
    opened.queue.put(output(choice("ab", ids=(4, 5)), prompt_token_ids=[1, 2], prompt_logprobs=None))
    prompt, first = await opened.stream.next() or []
    assert prompt.report is not None
    assert prompt.report.prompt is not None
    assert (prompt.tokens, prompt.report.prompt.token_ids) == (0, [1, 2])
    assert first.report is not None
    assert (first.text, first.report.token_ids) == ("ab", (4, 5))
    opened.queue.put(output(choice("", "stop", ids=()), finished=True))
    (last,) = await opened.stream.next() or []
    assert (last.report, last.finish_reason) == (None, "stop")


async def test_the_logprobs_of_a_prompt_come_with_each_choice() -> None:
    positions = [None, {7: SimpleNamespace(logprob=-0.5, rank=1, decoded_token="b")}]
    opened = Opened(extras=Extras(prompt_logprobs=1), choices=2)
    opened.queue.put(output(choice("a"), prompt_token_ids=[3, 7], prompt_logprobs=positions))
    deltas = await opened.stream.next() or ()
    reports = [delta.report.prompt for delta in deltas if delta.report is not None]
    assert [report and report.logprobs for report in reports] == [positions, positions]
    assert [delta.text for delta in deltas] == ["", "", "a"]


def test_tokens_are_written_as_ids_where_asked() -> None:
    position = {
        5: SimpleNamespace(logprob=-0.1, rank=1, decoded_token="x"),
        9: SimpleNamespace(logprob=-0.2, rank=2, decoded_token="y"),
    }
    (token,) = token_logprobs([9], [position], 1, as_ids=True)
    assert (token.token, token.utf8, token.top[0].token) == ("token_id:9", b"y", "token_id:5")
