"""The short way of a token out of vLLM: from its output handler straight to whoever sends, with no object on the way.

vLLM 0.32 makes a `RequestOutput` with a `CompletionOutput` in it for each token, puts it into a collector and wakes a
task; together that costs as much as all that is left. Here that is left out while somebody waits who takes the text
alone, in two places:

- `ShortLoop` stands in front of the loop over a step's outputs (`OutputProcessor.process_outputs`) and deals itself
  with what is one plain token in the middle of an answer: it counts and detokenizes it as vLLM does, and hands it on.
  All else is left to vLLM's own loop.
- `ShortPath` stands, for one request, in place of the method that makes an output (`RequestState.make_request_output`),
  for what vLLM's loop has dealt with: stop strings, several tokens at a time.

Where nobody takes the text, vLLM's own method is called as if nothing had been asked. Does not import vLLM. The names
are those of its classes; a request that is not as plain as it must be, or a vLLM that is not as expected, goes the long
way. Tests: `tests/engine/vllm/test_short_path.py`, `tests/live/test_short_path.py`.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from typing import Any

from prometheus_client.values import MutexValue

from engine.api import Relay

DELTA = "DELTA"


class ShortPath:
    """In one request's state, in place of the method that makes its outputs. It has a `relay` while somebody waits."""

    def __init__(self, state: Any, queue: Any) -> None:
        self.relay: Relay | None = None
        self._make = state.make_request_output
        self._state = state
        self._queue = queue
        self._detokenizer = state.detokenizer
        # A stop string may begin in one token and end in another, and is held back meanwhile.
        self._decode = getattr(state.detokenizer, "decode_next", None) if not state.detokenizer.stop else None
        state.make_request_output = self._make_output
        state.twowire_short_path = self

    def take(self, output: Any, timestamp: float, stats: Any) -> bool:
        """Deal with a step's output if it is a plain token that somebody waits for; False: nothing was done.

        `timestamp` is the step's, `stats` vLLM's `IterationStats` of it, if it keeps them.
        """
        relay, state, token_ids = self.relay, self._state, output.new_token_ids
        if (
            relay is None
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
            if relay(text, 1):
                # It is gone, and need not be kept: only what is still to be sent counts as the output's text.
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
            # The last output. The state must not go on holding what holds it.
            make, self.relay, self._make = self._make, None, None
            del self._state.make_request_output, self._state.twowire_short_path
            self._state = self._decode = None
            return make(new_token_ids, pooling_output, finish_reason, stop_reason, *rest, **more)
        # What waits in the queue comes first.
        if self.relay is not None and self._queue.output is None:
            detokenizer = self._detokenizer
            before = detokenizer._last_output_text_offset
            try:
                if self.relay(detokenizer.get_next_output_text(False, True), len(new_token_ids)):
                    return None
            except Exception as error:
                # It would end the handler of all outputs. It ends this stream: its reader raises this.
                return error
            detokenizer._last_output_text_offset = before
        return self._make(new_token_ids, pooling_output, finish_reason, stop_reason, *rest, **more)


class ShortLoop:
    """In front of vLLM's loop over the outputs of a step."""

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
                path = getattr(states.get(output.request_id), "twowire_short_path", None)
                if path is None or not path.take(output, timestamp, stats):
                    rest.append(output)
            outputs = rest
        return self._process(outputs, timestamp, stats, weight_version=weight_version)


def short_path_of(state: Any, queue: Any) -> ShortPath | None:
    """The short path of a request that has just been added, where it can have one.

    `state` is vLLM's `RequestState`, None where the request has ended already or has several (n > 1).
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
    return ShortPath(state, queue) if is_plain else None


def quicken(histogram: Any) -> None:
    """Let one of prometheus-client's histograms be observed without its locks, and without going through its buckets.

    vLLM observes one for each token, from the event loop alone: 2 µs each time, a tenth of what it does for the token.
    """
    bounds, buckets, total = histogram._upper_bounds, histogram._buckets, histogram._sum
    if not isinstance(total, MutexValue):
        return  # Values of several processes, in files.

    def observe(amount: float, exemplar: Any = None) -> None:
        buckets[bisect_left(bounds, amount)]._value += 1
        total._value += amount

    histogram.observe = observe


def freeze_heap() -> None:
    """Take what there is now out of the garbage collector's sight: a million objects of vLLM's that will stay.

    Each full collection would look through them, while every stream stands still.
    """
    gc.unfreeze()  # An engine that has died is garbage.
    gc.collect()
    gc.freeze()
