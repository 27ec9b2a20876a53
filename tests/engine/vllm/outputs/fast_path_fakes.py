"""The parts of vLLM's classes that the fast path touches."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from engine.vllm.outputs.fast_path import FastPathLoop, fast_path_of
from engine.vllm.outputs.stream import VllmStream
from protocol.errors import Fault, TwowireError
from tests.engine.vllm.outputs.test_stream import FakeCollector


class Detokenizer:
    """Available text, and how much of it has been read."""

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
    """The parts of vLLM's `RequestState` that matter."""

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


class Processor:
    """vLLM's loop: it records its outputs, and handles a token as the real one does."""

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
