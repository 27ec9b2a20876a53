"""A server for each module of symptoms."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from app.factory import create_app
from engine.api import StageReport
from tests.app.channel.channels import Harness
from tests.app.generation.symptoms.front import Front, ScriptedEngine


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front() -> AsyncIterator[Front]:
    harness = Harness()

    async def start(report: StageReport) -> ScriptedEngine:
        return ScriptedEngine()

    harness.manager._factory = start
    harness.manager.start()
    await harness.manager.wait_settled()
    yield Front(create_app(harness.services), harness.peer())
    await harness.close()
    await harness.manager.stop()
