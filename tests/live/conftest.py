"""Marks the tests in this folder, and starts browsers and commands for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.live.browser.chromium import NoBrowser, launched, left_out
from tests.live.servers.command import Command

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in this folder: `-m "not live"` leaves them out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """A Chromium, for the tests of one file."""
    if left_out():
        pytest.skip("WITHOUT_BROWSER is set: the page is not tested in a browser")
    try:
        async with launched() as browser:
            yield browser
    except NoBrowser as problem:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def launch() -> Iterator[Callable[..., Command]]:
    """Starts commands; those left at the end are killed."""
    commands: list[Command] = []

    def start(*command: str, env: dict[str, str] | None = None) -> Command:
        commands.append(Command(*command, env=env))
        return commands[-1]

    yield start
    for command in commands:
        for process in command.session():
            process.kill()
        command.process.wait(10)
