"""Which prompts are rendered at once, and which in vLLM's thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from engine.vllm.prompts.render import AT_ONCE_CHARS, Prompts


class Renderer:
    """vLLM's, as far as it is used; what it renders in its thread is ready when the test says so."""

    def __init__(self) -> None:
        self.ways: list[str] = []
        self.is_ready = asyncio.Event()

    def render_chat(self, conversations: list[Any], params: Any, tokens: Any) -> tuple[list[Any], list[str]]:
        self.ways.append("at once")
        return conversations, ["input"]

    async def render_chat_async(
        self, conversations: list[Any], params: Any, tokens: Any
    ) -> tuple[list[Any], list[str]]:
        self.ways.append("thread")
        await self.is_ready.wait()
        return conversations, ["input"]

    async def render_cmpl_async(self, prompts: list[Any], tokens: Any) -> list[str]:
        self.ways.append("completion")
        await self.is_ready.wait()
        return ["input"] * len(prompts)


def chat(chars: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "x" * chars}]


async def test_a_short_chat_is_rendered_at_once_and_a_long_one_in_the_thread() -> None:
    renderer = Renderer()
    prompts = Prompts(renderer)
    renderer.is_ready.set()
    for chars in (10, AT_ONCE_CHARS, 10):
        assert await prompts.chat(chat(chars), None, None) == "input"
    assert renderer.ways == ["at once", "thread", "at once"]


@pytest.mark.parametrize("kind", ["chat", "completion"])
async def test_never_beside_the_thread(kind: str) -> None:
    renderer = Renderer()
    prompts = Prompts(renderer)
    first: Any = prompts.chat(chat(AT_ONCE_CHARS), None, None)
    if kind == "completion":
        first.close()
        first = prompts.completion([{"prompt": "x"}], None)
    waiting = [asyncio.ensure_future(first), asyncio.ensure_future(prompts.chat(chat(10), None, None))]
    await asyncio.sleep(0)
    assert "at once" not in renderer.ways
    renderer.is_ready.set()
    await asyncio.gather(*waiting)
    assert await prompts.chat(chat(10), None, None) == "input"
    assert renderer.ways[-1] == "at once"


async def test_of_many_that_come_at_once_one_is_rendered_for_each_turn_of_the_loop() -> None:
    renderer = Renderer()
    prompts = Prompts(renderer)
    chats = [asyncio.create_task(prompts.chat(chat(10), None, None)) for _ in range(5)]
    turns: list[int] = []
    while not all(one.done() for one in chats):
        before = len(renderer.ways)
        await asyncio.sleep(0)
        turns.append(len(renderer.ways) - before)
    assert max(turns) == 1
    assert len(renderer.ways) == 5


class ThreadedRenderer(Renderer):
    """One that really has threads, as vLLM's has: with one worker each."""

    def __init__(self) -> None:
        super().__init__()
        self._executor, self._mm_executor = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.has_begun, self.may_end = asyncio.Event(), threading.Event()

    async def render_chat_async(self, conversations: list[Any], params: Any, tokens: Any, **more: Any) -> Any:
        self.ways.append("thread")
        await self._work(self._mm_executor if more else self._executor)
        return conversations, ["input"]

    async def render_cmpl_async(self, prompts: list[Any], tokens: Any) -> list[str]:
        self.ways.append("completion")
        await self._work(self._executor)
        return ["input"]

    async def _work(self, executor: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            loop.call_soon_threadsafe(self.has_begun.set)
            self.may_end.wait(60)

        await loop.run_in_executor(executor, work)

    def close(self) -> None:
        self.may_end.set()
        self._executor.shutdown()
        self._mm_executor.shutdown()


@pytest.mark.parametrize("kind", ["chat", "completion", "media"])
async def test_a_thread_whose_reader_was_cancelled_is_still_in_use(kind: str) -> None:
    renderer = ThreadedRenderer()
    prompts = Prompts(renderer)
    try:
        begun: Any
        if kind == "chat":
            begun = prompts.chat(chat(AT_ONCE_CHARS), None, None)
        elif kind == "completion":
            begun = prompts.completion([{"prompt": "x"}], None)
        else:
            begun = prompts.chat_with_media(chat(10), None, None)
        begun = asyncio.ensure_future(begun)
        await renderer.has_begun.wait()
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await begun
        beside = asyncio.ensure_future(prompts.chat(chat(10), None, None))
        await asyncio.sleep(0)
        assert renderer.ways[1:] == ["thread"]
        renderer.may_end.set()
        assert await beside == "input"
        async with asyncio.timeout(30):
            while renderer.ways[-1] != "at once":
                await prompts.chat(chat(10), None, None)
    finally:
        renderer.close()
