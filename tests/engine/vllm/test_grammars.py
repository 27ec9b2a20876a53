"""Compiled grammars that requests share, with a compiler that waits for the test."""

from __future__ import annotations

import threading
import time
import tomllib
from concurrent.futures import Future, wait
from pathlib import Path

import pytest

from engine.vllm import grammars as vllm_grammars
from engine.vllm.grammars import KEPT_QUICK, KEPT_SLOW, SharedCompiles

LIMIT_S = 10


class Compiler:
    """Counts what it compiles. A request is its grammar's name; `slow…` takes long, `wait…` until it may go on."""

    def __init__(self) -> None:
        self.compiled: list[str] = []
        self.may_go_on = threading.Event()
        self.executor = SharedCompiles(2, key_of=str, copy=lambda grammar: [*grammar, "copy"])

    def create(self, request: str) -> list[str]:
        self.compiled.append(request)
        if request.startswith("wait"):
            assert self.may_go_on.wait(LIMIT_S)
        if request.startswith("slow"):
            until = time.thread_time() + 2 * vllm_grammars.IS_SLOW_S
            while time.thread_time() < until:
                pass
        if request.startswith("bad"):
            raise ValueError(request)
        return [request]

    def ask(self, request: str) -> Future[list[str]]:
        return self.executor.submit(self.create, request)


def test_requests_with_one_grammar_share_its_compile() -> None:
    compiler = Compiler()
    answers = [compiler.ask("wait") for _ in range(3)]
    compiler.may_go_on.set()
    results = [answer.result(LIMIT_S) for answer in answers]
    results.append(compiler.ask("wait").result(LIMIT_S))
    assert (results, compiler.compiled) == ([["wait", "copy"]] * 4, ["wait"])
    assert len({id(result) for result in results}) == 4, "two requests would advance one grammar"
    compiler.executor.shutdown()


def test_requests_that_wait_for_one_compile_leave_the_threads_to_others() -> None:
    compiler = Compiler()
    waiting = [compiler.ask("wait") for _ in range(10)]
    assert compiler.ask("other").result(LIMIT_S) == ["other", "copy"]
    compiler.may_go_on.set()
    wait(waiting, LIMIT_S)
    compiler.executor.shutdown()


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    compiler = Compiler()
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            compiler.ask("bad").result(LIMIT_S)
    assert compiler.compiled == ["bad", "bad"]
    compiler.executor.shutdown()


def test_what_is_kept_is_bounded_and_quick_ones_do_not_push_slow_ones_out() -> None:
    compiler = Compiler()
    for number in range(KEPT_SLOW + 1):
        compiler.ask(f"slow{number}").result(LIMIT_S)
    for number in range(KEPT_QUICK + 1):
        compiler.ask(f"quick{number}").result(LIMIT_S)
    compiler.compiled.clear()
    for name in ("slow1", f"slow{KEPT_SLOW}", "quick1"):
        compiler.ask(name).result(LIMIT_S)
    assert compiler.compiled == []
    for name in ("slow0", "quick0"):
        compiler.ask(name).result(LIMIT_S)
    assert compiler.compiled == ["slow0", "quick0"]
    compiler.executor.shutdown()


def test_the_project_names_its_plugin_to_vllm() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    target = project["entry-points"]["vllm.general_plugins"]["twowire_grammars"]
    assert target == f"{vllm_grammars.__name__}:{vllm_grammars.share_grammars.__name__}"
