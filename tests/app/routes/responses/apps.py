"""An app on a fake engine, called as clients do, with different keys."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from app.services import Services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.output import Delta
from tests.engine.fakes import FakeEngine, FakeFactory, words

KEYS = {"TWOWIRE_API_KEYS": "alice-secret,bobs-secret"}
ALICE, BOB = "alice-secret", "bobs-secret"
CONVERSATIONS, RESPONSES = "/v1/conversations", "/v1/responses"
BODY: dict[str, Any] = {"model": "guide", "input": "one"}
JSON = {"Content-Type": "application/json"}
GONE = (404, "response_not_found")


class App:
    """Calls an app; the answers are parsed."""

    def __init__(self, app: Quart, factory: FakeFactory, services: Services) -> None:
        self.app = app
        self.services = services
        self.manager = services.manager
        self._factory = factory

    @property
    def engine(self) -> FakeEngine:
        return self._factory.engines[-1]

    async def call(self, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
        """The status, and the body parsed."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        more: dict[str, Any] = {} if body is None else {"json": body}
        response = await self.app.test_client().open(path, method=method, headers=headers, **more)
        return response.status_code, orjson.loads(await response.get_data(as_text=False))

    async def ok(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """The body of an answer that must be 200."""
        status, answer = await self.call(method, path, body, key)
        assert status == 200, answer
        return answer

    async def refused(self, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, str]:
        """The status and the code of an error."""
        status, answer = await self.call(method, path, body, key)
        return status, answer["error"]["code"]


@asynccontextmanager
async def open_app(
    steps: Sequence[list[Delta]] | None = None,
    *,
    flags: Sequence[str] = (),
    env: dict[str, str] | None = None,
    ends: bool = True,
    engine: type[FakeEngine] = FakeEngine,
) -> AsyncIterator[App]:
    """An app whose engine answers with `steps`."""
    factory = FakeFactory(words("so", " be", " it") if steps is None else steps, ends=ends, engine=engine)
    manager = EngineManager(factory, AdmissionLimits(64, 64))
    services = make_services(load_settings(flags, env or {}), manager)
    app = create_app(services)
    async with app.test_app():
        await manager.wait_settled()
        yield App(app, factory, services)


async def events_of(app: App, method: str, path: str, body: object = None) -> list[dict[str, Any]]:
    """The events of a stream, read to its end."""
    more: dict[str, Any] = {} if body is None else {"json": body}
    response = await app.app.test_client().open(path, method=method, **more)
    assert response.mimetype == "text/event-stream", await response.get_data()
    text: bytes = await response.get_data(as_text=False)
    return [
        orjson.loads(line.removeprefix(b"data: "))
        for line in text.splitlines()
        if line.startswith(b"data: ") and line != b"data: [DONE]"
    ]
