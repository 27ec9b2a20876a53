"""An app on a fake engine, for tests that follow requests to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory, FakeStream

LIMIT_S = 5
PATH = "/v1/chat/completions"


def body(*, stream: bool) -> dict[str, object]:
    return {"model": "guide", "messages": [{"role": "user", "content": "hi"}], "stream": stream}


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)


class Harness:
    """The app on a fake engine whose answers begin and never end."""

    def __init__(self, factory: FakeFactory) -> None:
        self.factory = factory
        self.manager = EngineManager(factory, AdmissionLimits(4, 4))
        self.services = make_services(load_settings([], {}), self.manager)
        self.app: Quart = create_app(self.services)

    @property
    def streams(self) -> list[FakeStream]:
        return [stream for engine in self.factory.engines for stream in engine.opened]

    def outcomes(self) -> dict[str, float]:
        """How the generations ended, according to `/metrics`."""
        return {
            sample.labels["outcome"]: sample.value
            for family in self.services.metrics.generations.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
