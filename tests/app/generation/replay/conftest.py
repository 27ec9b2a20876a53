"""Servers for the tests of resumable chats."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from engine.admission.admission import AdmissionLimits
from tests.app.channel.channels import Harness, open_harness
from tests.app.generation.replay.resumables import SMALL


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness(admission=AdmissionLimits(400, 0)) as harness:
        yield harness


@pytest.fixture
async def small_harness() -> AsyncIterator[Harness]:
    async with open_harness(resume=SMALL) as harness:
        yield harness
