"""Keeps parsers of large bodies from holding up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

R = TypeVar("R")


class ParserThread:
    """Runs parsers beside the event loop, one at a time.

    A parser holds Python's lock for tens of milliseconds, in whatever thread. Several that take turns with it would
    keep the event loop waiting for all of them. Test: `tests/app/routes/test_bodies.py`.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "parser")

    async def run(self, parse: Callable[..., R], *arguments: Any) -> R:
        """What `parse(*arguments)` returns, or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, parse, *arguments)

    def close(self) -> None:
        """Stop, without waiting for what runs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
