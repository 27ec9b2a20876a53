"""`/health` while the engine starts, and once it has."""

from __future__ import annotations

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory
from tests.engine.test_manager import until


async def test_it_says_how_far_the_start_is() -> None:
    factory = FakeFactory()
    factory.started.clear()
    manager = EngineManager(factory, AdmissionLimits(1, 1))
    client = create_app(make_services(load_settings([], {}), manager)).test_client()
    manager.start()
    await until(lambda: manager.reason == "loading the fake")
    answer = await client.get("/health")
    body = await answer.get_json()
    assert (answer.status_code, body["state"], body["reason"]) == (503, "starting", "loading the fake")
    assert body["progress"] == {"done": 1, "total": 2, "unit": "files"}
    factory.started.set()
    await manager.wait_settled()
    answer = await client.get("/health")
    assert (answer.status_code, (await answer.get_json())["progress"]) == (200, None)
    await manager.stop()
