"""The short way of a token out of vLLM: from its output handler straight to whoever sends, with no object on the way.

vLLM 0.32 makes a `RequestOutput` with a `CompletionOutput` in it for each token, puts it into a collector and wakes a
task; together that costs as much as all that is left. Here the method that makes the output
(`RequestState.make_request_output`) is replaced, for one request at a time, by one that asks for the text alone and
hands it on; when nobody takes it, vLLM's own is called as if nothing had been asked. What vLLM does around it
(detokenizing, stop strings, statistics, the end of the request) stays its own.

Does not import vLLM. The names are those of its `RequestState` and `BaseIncrementalDetokenizer`; a request that is not
as plain as it must be, or a vLLM that is not as expected, goes the long way. Tests: `tests/engine/test_short_path.py`,
`tests/live/test_short_path.py`.
"""

from __future__ import annotations

import gc
from typing import Any

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
        state.make_request_output = self._make_output

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
            del self._state.make_request_output
            self._state = None
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
            and hasattr(queue, "output")
            and callable(state.make_request_output)
        )
    except AttributeError:
        return None
    return ShortPath(state, queue) if is_plain else None


def freeze_heap() -> None:
    """Take what there is now out of the garbage collector's sight: a million objects of vLLM's that will stay.

    Each full collection would look through them, while every stream stands still.
    """
    gc.unfreeze()  # An engine that has died is garbage.
    gc.collect()
    gc.freeze()
