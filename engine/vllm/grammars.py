"""Shares compiled grammars in vLLM's engine core: each is compiled once, and none waits long for another.

Replaces two classes of the engine core. vLLM calls `share_grammars` there, as a plugin: see `vllm.general_plugins` in
pyproject.toml. Imports vLLM only when called.

vLLM 0.32 compiles a grammar for each request, also where it is the same, in half as many threads as there are
processors: one, on two. So requests with one slow schema keep every other schema waiting. What reaches the engine has
passed `engine.grammar`, so that each compile has an end; here it is shared, with a thread for each that may run. And an
answer whose grammar fails ends with an error. Test: `tests/live/real/engine/test_grammar.py`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from engine.grammar.backends import parser_limits
from engine.grammar.cache import MAX_SLOW, SLOW_S
from engine.grammar.child import NICE

THREADS = 8
"""Each API server lets two slow compiles through at a time; the rest are for quick ones."""
KEPT_QUICK = 64
KEPT_SLOW = 2 * MAX_SLOW
IS_SLOW_S = SLOW_S / 4
"""Below the API server's threshold, which is measured in a busier process."""

Copy = Callable[[Any], Any]
"""Copies a compiled grammar for another request."""


class SharedCompiles(ThreadPoolExecutor):
    """Compiles each grammar once and gives every request a copy. Replaces the executor of vLLM's manager."""

    def __init__(self, threads: int, key_of: Callable[[Any], Hashable], copy: Copy) -> None:
        super().__init__(threads, thread_name_prefix="grammar", initializer=_lower_priority)
        self._key_of = key_of
        self._copy = copy
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[Any]] = {}
        self._quick: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._slow: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def submit(self, create: Callable[[Any], Any], request: Any) -> Future[Any]:  # type: ignore[override]  # vLLM's use
        """`create(request)`, or a copy of what it made for another request with the same grammar."""
        key = self._key_of(request)
        with self._lock:
            original = self._found(key)
            if original is None:
                original = self._running[key] = super().submit(self._timed, create, request, key)
        copied: Future[Any] = Future()
        original.add_done_callback(lambda done: self._hand_out(done, copied))
        return copied

    def _found(self, key: Hashable) -> Future[Any] | None:
        for kept in (self._quick, self._slow):
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        return self._running.get(key)

    def _timed(self, create: Callable[[Any], Any], request: Any, key: Hashable) -> Any:
        began = time.thread_time()
        try:
            compiled = create(request)
        except BaseException:
            with self._lock:
                del self._running[key]
            raise
        is_slow = time.thread_time() - began > IS_SLOW_S
        kept, limit = (self._slow, KEPT_SLOW) if is_slow else (self._quick, KEPT_QUICK)
        with self._lock:
            kept[key] = self._running.pop(key)
            if len(kept) > limit:
                kept.popitem(last=False)
        return compiled

    def _hand_out(self, done: Future[Any], copied: Future[Any]) -> None:
        try:
            copied.set_result(self._copy(done.result()))
        except BaseException as error:
            copied.set_exception(error)


def _lower_priority() -> None:
    # A slow compile must not delay the engine's steps. On Linux, niceness is per thread.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def share_grammars() -> None:
    """Replace the classes if this is an engine core's process; otherwise do nothing."""
    core: Any = sys.modules.get("vllm.v1.engine.core")
    if core is None or hasattr(core.StructuredOutputManager, "shares_grammars"):
        return
    import vllm.v1.structured_output as structured_output
    from vllm.v1.structured_output import backend_guidance

    class Grammar(backend_guidance.GuidanceGrammar):  # type: ignore[misc]  # vLLM is not typed here
        def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
            # A matcher can fail in the middle of an answer: some expressions grow with each letter until llguidance
            # gives up. It then allows only the end, and vLLM 0.32 takes the partial answer for a complete one.
            accepted: bool = super().accept_tokens(request_id, tokens)
            return accepted and not self.ll_matcher.is_error()

    class Backend(backend_guidance.GuidanceBackend):  # type: ignore[misc]
        def compile_grammar(self, request_type: Any, grammar_spec: str, stop_token_ids: Any = None) -> Any:
            # vLLM keeps the source in an attribute, which another thread might overwrite.
            source = backend_guidance.serialize_guidance_grammar(
                request_type, grammar_spec, self.disable_any_whitespace, self.disable_additional_properties
            )
            new_matcher = backend_guidance.llguidance.LLMatcher
            matcher = new_matcher(self.ll_tokenizer, source, log_level=1, limits=parser_limits())
            # The first mask costs most. Computed here, it delays no step, and copies share it.
            matcher.compute_bitmask()
            grammar = Grammar(matcher, self.ll_tokenizer, self.vocab_size)
            grammar.check_error()
            return grammar

    class Manager(core.StructuredOutputManager):  # type: ignore[misc]
        shares_grammars = True
        executor: Any

        def __init__(self, vllm_config: Any) -> None:
            super().__init__(vllm_config)
            if hasattr(self, "executor"):
                self.executor.shutdown()
                self.executor = SharedCompiles(THREADS, _key_of, _copy_of)

    def _copy_of(grammar: Any) -> Any:
        return Grammar(grammar.ll_matcher.deep_copy(), grammar.ll_tokenizer, grammar.vocab_size)

    def _key_of(request: Any) -> Hashable:
        key: Hashable = request.structured_output_request.structured_output_key
        return key

    structured_output.GuidanceBackend = Backend
    core.StructuredOutputManager = Manager
