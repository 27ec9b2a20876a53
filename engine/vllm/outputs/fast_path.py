"""The fast path out of vLLM: from its output handler straight to the sender, with no object in between.

vLLM 0.32 makes a `RequestOutput` with a `CompletionOutput` for each token, puts it into a collector and wakes a task;
together that costs as much as everything after it. While somebody waits who needs only the text, two hooks skip it:

- `FastPathLoop` runs before vLLM's loop over a step's outputs (`OutputProcessor.process_outputs`). It handles one plain
  token in the middle of an answer: it counts and detokenizes the token as vLLM does, and passes the text on. Everything
  else is left to vLLM's loop.
- `RequestFastPath` replaces, for one request, the method that makes an output (`RequestState.make_request_output`), for
  what vLLM's loop has handled: stop strings, several tokens at a time.

When nobody takes the text, vLLM's own method is called, as without the hooks. A request that is not plain, or a vLLM
whose classes are not as expected, takes the ordinary path. This module does not import vLLM; the attribute names are
those of its classes. Tests: `tests/engine/vllm/outputs/test_fast_path.py` and
`tests/live/real/processes/test_fast_path.py`.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from prometheus_client import Histogram
from prometheus_client.values import MutexValue

from engine.api import FastPath

DELTA = "DELTA"


class RequestFastPath:
    """Replaces the method of one request's state that makes its outputs. `sink` is set while somebody waits."""

    def __init__(self, state: Any, queue: Any) -> None:
        self.sink: FastPath | None = None
        self._make = state.make_request_output
        self._state = state
        self._queue = queue
        self._detokenizer = state.detokenizer
        # A stop string may begin in one token and end in another, and is held back meanwhile.
        self._decode = getattr(state.detokenizer, "decode_next", None) if not state.detokenizer.stop else None
        state.make_request_output = self._make_output
        state.twowire_fast_path = self

    def take(self, output: Any, timestamp: float, stats: Any) -> bool:
        """Handle a step's output if it is a plain token that somebody waits for; False: nothing was done.

        `timestamp` is the step's, `stats` vLLM's `IterationStats` of it, if it keeps them.
        """
        sink, state, token_ids = self.sink, self._state, output.new_token_ids
        if (
            sink is None
            or self._decode is None
            or self._queue.output is not None
            or output.finish_reason is not None
            or output.events is not None
            or len(token_ids) != 1
            or state.is_prefilling
            or output.num_nans_in_logits
            or output.routed_experts is not None
            or output.new_sampling_mask is not None
        ):
            return False
        if stats is not None:
            of_request = state.stats
            stats.num_generation_tokens += 1
            of_request.num_generation_tokens += 1
            stats.inter_token_latencies_iter.append(timestamp - of_request.last_token_ts)
            of_request.last_token_ts = timestamp
        detokenizer = self._detokenizer
        detokenizer.token_ids.append(token_ids[0])
        text = self._decode(token_ids[0])
        try:
            if sink(text, 1):
                # It has been sent and need not be kept: the output's text is what is still to be sent.
                return True
        except Exception as error:
            self._queue.put(error)
            return True
        detokenizer.output_text += text
        if made := self._make(token_ids, None, None, None):
            self._queue.put(made)
        return True

    def _make_output(
        self,
        new_token_ids: list[int],
        pooling_output: Any,
        finish_reason: Any,
        stop_reason: Any,
        *rest: Any,
        **more: Any,
    ) -> Any:
        if finish_reason is not None:
            # The last output. Break the reference cycle with the state.
            make, self.sink, self._make = self._make, None, None
            del self._state.make_request_output, self._state.twowire_fast_path
            self._state = self._decode = None
            return make(new_token_ids, pooling_output, finish_reason, stop_reason, *rest, **more)
        # Not past what waits in the queue.
        if self.sink is not None and self._queue.output is None:
            detokenizer = self._detokenizer
            before = detokenizer._last_output_text_offset
            try:
                if self.sink(detokenizer.get_next_output_text(False, True), len(new_token_ids)):
                    return None
            except Exception as error:
                # Raised here, it would end the handler of all outputs. Returned, it is raised by this stream's reader.
                return error
            detokenizer._last_output_text_offset = before
        return self._make(new_token_ids, pooling_output, finish_reason, stop_reason, *rest, **more)


class FastPathLoop:
    """Runs before vLLM's loop over the outputs of a step."""

    def __init__(self, processor: Any) -> None:
        """`processor` is vLLM's `OutputProcessor`."""
        self._states = processor.request_states
        self._process = processor.process_outputs
        processor.process_outputs = self._process_outputs

    def _process_outputs(
        self, outputs: list[Any], timestamp: float | None = None, stats: Any = None, weight_version: Any = None
    ) -> Any:
        if timestamp is not None and weight_version is None:
            states = self._states
            rest = []
            for output in outputs:
                path = getattr(states.get(output.request_id), "twowire_fast_path", None)
                if path is None or not path.take(output, timestamp, stats):
                    rest.append(output)
            outputs = rest
        return self._process(outputs, timestamp, stats, weight_version=weight_version)


def fast_path_of(state: Any, queue: Any) -> RequestFastPath | None:
    """The fast path of a request that has just been added, or None if it cannot have one.

    `state` is vLLM's `RequestState`; None if the request has already ended, or has several (n > 1).
    """
    try:
        is_plain = (
            state is not None
            and state.parent_req is None
            and state.stream_interval == 1
            and not state.streaming_input
            and state.output_kind.name == DELTA
            and state.logprobs_processor.logprobs is None
            and state.logprobs_processor.prompt_logprobs is None
            and hasattr(state.detokenizer, "_last_output_text_offset")
            and hasattr(state.detokenizer, "stop")
            and hasattr(queue, "output")
            and callable(state.make_request_output)
        )
    except AttributeError:
        return None
    return RequestFastPath(state, queue) if is_plain else None


def shorten(llm: Any) -> Sequence[Any]:
    """Make cheaper what vLLM's `AsyncLLM` does for each token and each request. Returns its loggers of statistics."""
    FastPathLoop(llm.output_processor)
    loggers: Sequence[Any] = getattr(llm.logger_manager, "stat_loggers", ())
    for logger in loggers:
        for name, histograms in vars(logger).items():
            if name.startswith("histogram_") and isinstance(histograms, dict):
                for histogram in histograms.values():
                    quicken(histogram)
    # It would borrow a tokenizer, and look the token up, for each request.
    eos_token_id = llm.renderer.get_eos_token_id()
    llm.renderer.get_eos_token_id = lambda: eos_token_id
    return loggers


def quicken(histogram: Any) -> None:
    """Make one of prometheus-client's histograms faster: no locks, and a binary search for the bucket.

    vLLM observes one for each token and a dozen for each request, only from the event loop: 2 µs each, a tenth of its
    work for a token.
    """
    if not isinstance(histogram, Histogram):
        return
    bounds, buckets, total = histogram._upper_bounds, histogram._buckets, histogram._sum
    if not isinstance(total, MutexValue):
        return  # Values shared between processes, in files.

    def observe(amount: float, exemplar: Any = None) -> None:
        buckets[bisect_left(bounds, amount)]._value += 1
        total._value += amount

    histogram.observe = observe  # type: ignore[method-assign]  # of this one alone


def freeze_heap() -> None:
    """Exempt the objects that exist now from garbage collection: a million of vLLM's, which stay.

    Each full collection would scan them while every stream stands still.
    """
    gc.unfreeze()  # A dead engine is garbage.
    gc.collect()
    gc.freeze()
