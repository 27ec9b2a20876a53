"""`/health` while the engine starts, and once it has."""

from __future__ import annotations

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from app.version import installed_version
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from engine.startup.digest import engine_digest
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
    assert "engine_digest" not in body, "it has no followers"
    assert body["progress"] == {"done": 1, "total": 2, "unit": "files"}
    factory.started.set()
    await manager.wait_settled()
    answer = await client.get("/health")
    assert (answer.status_code, (await answer.get_json())["progress"]) == (200, None)
    await manager.stop()


async def test_it_says_what_followers_compare() -> None:
    flags = ["--data-parallel-size", "2", "--data-parallel-size-local", "1", "--data-parallel-address", "127.0.0.1"]
    settings = load_settings(flags, {})
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    answer = await create_app(make_services(settings, manager)).test_client().get("/health")
    assert (await answer.get_json())["engine_digest"] == engine_digest(settings.engine, installed_version())
