"""Adapters on every route and wire, and loading them over HTTP. On a fake engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog.testing
from quart import Quart, Response

from app.config.load import load_settings
from app.config.settings import SettingsError
from app.factory import create_app
from app.observability.metrics import MAX_MODELS, OTHER_MODELS
from app.server.wiring import adapters_of, make_services
from app.services import Services
from engine.adapters.start import own_copies
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.app.channel.channels import CREATE, DONE, HANDSHAKE
from tests.engine.adapters.made import make_adapter
from tests.engine.fakes import FakeFactory, words

ADMIN, KEY = "admin-key-0123456789", "key-of-ours-1234"
WITH_ADMIN = {"Authorization": f"Bearer {ADMIN}"}
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": QUESTION,
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": QUESTION | {"max_tokens": 8},
}


@dataclass
class Served:
    app: Quart
    factory: FakeFactory
    services: Services

    @property
    def used(self) -> list[str | None]:
        """The adapters of the requests so far."""
        return [adapter.name if adapter else None for adapter in self.factory.engines[-1].used]

    async def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
        response: Response = await self.app.test_client().post(path, json=body, headers=headers)
        return response

    async def load(self, name: str, path: Path, **more: Any) -> Response:
        return await self.post(LOAD, {"lora_name": name, "lora_path": str(path), **more}, WITH_ADMIN)

    async def metric(self, line: str) -> bool:
        return line in self.services.metrics.exposition().decode().splitlines()


@asynccontextmanager
async def serving(*flags: str, **environ: str) -> AsyncIterator[Served]:
    settings = load_settings(flags, environ)
    with own_copies(settings.engine.adapters, settings.engine.model) as adapters:
        settings = replace(settings, engine=replace(settings.engine, adapters=adapters))
        factory = FakeFactory(words("so", " it is"))
        manager = EngineManager(factory, AdmissionLimits(4, 4), adapters=adapters_of(settings))
        services = make_services(settings, manager)
        app = create_app(services)
        async with app.test_app():
            await manager.wait_settled()
            yield Served(app, factory, services)


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "sql")


async def test_an_adapter_is_a_model_on_every_route_and_wire(sql: Path) -> None:
    async with serving("--lora", f"sql={sql}") as served:
        for path, body in REQUESTS.items():
            for stream in (False, True):
                response = await served.post(path, body | {"model": "sql", "stream": stream})
                text = await response.get_data(as_text=True)
                assert (response.status_code, '"model":"sql"' in text) == (200, True), (path, text)
        client = served.app.test_client()
        async with client.websocket("/v1/chat/completions", headers=HANDSHAKE) as socket:
            body = QUESTION | {"model": "sql"}
            await socket.send(orjson.dumps({"type": CREATE, "stream_id": "s", "body": body}).decode())
            while orjson.loads(await socket.receive())["type"] != DONE:
                pass
        assert served.used == ["sql"] * 9
        assert (await served.post("/v1/completions", {"model": "guide", "prompt": "hi"})).status_code == 200
        assert served.used[-1] is None


async def test_it_is_listed_with_its_parent(sql: Path) -> None:
    async with serving("--lora", f"sql={sql}") as served:
        client = served.app.test_client()
        models = (await (await client.get("/v1/models")).get_json())["data"]
        assert [(one["id"], one.get("parent"), one.get("root")) for one in models] == [
            ("guide", None, None),
            ("sql", "guide", str(sql)),
        ]
        assert (await (await client.get("/v1/models/sql")).get_json())["parent"] == "guide"
        anthropics = await (await client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).get_json()
        assert [one["id"] for one in anthropics["data"]] == ["guide", "sql"]


async def test_an_alias_may_stand_for_one(sql: Path) -> None:
    flags = ("--lora-dir", str(sql.parent), "--model-alias", "gpt-*=sql", "claude-*=default")
    async with serving(*flags) as served:
        for name in ("gpt-9", "claude-9"):
            assert (await served.post("/v1/completions", {"model": name, "prompt": "hi"})).status_code == 200
        assert served.used == ["sql", None]


async def test_requests_and_tokens_are_counted_by_model(sql: Path) -> None:
    async with serving("--lora", f"sql={sql}") as served:
        for name in ("sql", "sql", "guide"):
            await served.post("/v1/completions", {"model": name, "prompt": "hi"})
        for line in (
            'twowire_model_generations_total{model="sql",outcome="completed"} 2.0',
            'twowire_model_prompt_tokens_total{model="sql"} 6.0',
            'twowire_model_completion_tokens_total{model="sql"} 4.0',
            'twowire_model_completion_tokens_total{model="guide"} 2.0',
        ):
            assert await served.metric(line)


async def test_models_beyond_a_number_share_a_label(sql: Path) -> None:
    async with serving("--lora", f"sql={sql}") as served:
        served.services.metrics._model_labels |= {f"old-{number}" for number in range(MAX_MODELS)}
        await served.post("/v1/completions", {"model": "sql", "prompt": "hi"})
        assert await served.metric(f'twowire_model_completion_tokens_total{{model="{OTHER_MODELS}"}} 2.0')


async def test_one_is_loaded_used_replaced_and_unloaded_over_http(sql: Path) -> None:
    ask = {"model": "sql", "prompt": "hi"}
    async with serving("--enable-lora", TWOWIRE_ADMIN_API_KEY=ADMIN) as served:
        assert (await served.post("/v1/completions", ask)).status_code == 404
        loaded = await served.load("sql", sql)
        text = await loaded.get_data(as_text=True)
        assert (loaded.status_code, text) == (200, "Success: LoRA adapter 'sql' added successfully.")
        assert (await served.post("/v1/completions", ask)).status_code == 200
        assert (await served.load("sql", sql)).status_code == 400
        assert (await served.load("sql", sql, load_inplace=True)).status_code == 200
        unloaded = await served.post(UNLOAD, {"lora_name": "sql"}, WITH_ADMIN)
        text = await unloaded.get_data(as_text=True)
        assert (unloaded.status_code, text) == (200, "Success: LoRA adapter 'sql' removed successfully.")
        assert (await served.post("/v1/completions", ask)).status_code == 404
        assert (await served.post(UNLOAD, {"lora_name": "sql"}, WITH_ADMIN)).status_code == 404


async def test_a_bad_one_is_a_400_that_says_why(tmp_path: Path) -> None:
    bad = make_adapter(tmp_path / "bad", r=64)
    async with serving("--enable-lora", TWOWIRE_ADMIN_API_KEY=ADMIN) as served:
        for name, path, param, reason in (
            ("bad", bad, "lora_path", "the rank is 64, and may be 16"),
            ("bad", tmp_path / "nowhere", "lora_path", "there is no folder"),
            ("guide", bad, "lora_name", "another model's"),
        ):
            response = await served.load(name, path)
            error = (await response.get_json())["error"]
            assert (response.status_code, error["code"], error["param"]) == (400, "invalid_adapter", param)
            assert reason in error["message"]
        assert (await served.post(LOAD, {"lora_name": "x"}, WITH_ADMIN)).status_code == 400
        assert (await served.load("x", bad, is_3d_lora_weight=True)).status_code == 400


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
async def test_without_an_admin_key_the_routes_are_off(path: str, sql: Path) -> None:
    async with serving("--lora", f"sql={sql}", TWOWIRE_API_KEYS=KEY) as served:
        body = {"lora_name": "sql", "lora_path": str(sql)}
        response = await served.post(path, body, {"Authorization": f"Bearer {KEY}"})
        assert (response.status_code, (await response.get_json())["error"]["code"]) == (404, "unknown_url")
        assert (await served.post(path, body)).status_code == 401


@pytest.mark.parametrize("keys", [{}, {"TWOWIRE_API_KEYS": KEY}])
async def test_only_the_admin_key_loads_and_it_opens_nothing_else(keys: dict[str, str], sql: Path) -> None:
    async with serving("--lora", f"sql={sql}", TWOWIRE_ADMIN_API_KEY=ADMIN, **keys) as served:
        with structlog.testing.capture_logs() as logs:
            for headers in ({}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {ADMIN}x"}):
                for path in (LOAD, UNLOAD):
                    response = await served.post(path, {"lora_name": "sql", "lora_path": str(sql)}, headers)
                    assert response.status_code == 401
            assert (await served.load("law", sql)).status_code == 200
        assert ADMIN not in str(logs)
        asked = await served.post("/v1/completions", {"model": "sql", "prompt": "hi"}, WITH_ADMIN)
        assert asked.status_code == (401 if keys else 200)


@pytest.mark.parametrize(
    ("flags", "environ", "reason"),
    [
        ((), {"TWOWIRE_ADMIN_API_KEY": ADMIN}, "give --enable-lora"),
        (
            ("--enable-lora",),
            {"TWOWIRE_ADMIN_API_KEY": KEY, "TWOWIRE_API_KEYS": KEY},
            "must not be one of the API keys",
        ),
        (("--lora", "sql"), {}, "must be NAME=FOLDER"),
        (("--lora", "a b=x"), {}, "without spaces"),
        (("--lora", "sql=x,sql=y"), {}, "twice"),
        (("--lora", "guide=x"), {}, "another model as well"),
        (("--lora", "e=x", "--embedding-model", "e=y"), {}, "another model as well"),
        (("--lora", "a=x,b=y", "--max-cpu-loras", "1"), {}, "must be at least 2"),
        (("--lora-dir", "/nowhere"), {}, "cannot read"),
        (("--max-lora-rank", "20"), {}, "must be one of 1, 8, 16"),
        (("--engine-args", '{"enable_lora": true}'), {}, "has its own option, --enable-lora"),
        (("--model-alias", "x=sql"), {}, "is served as guide"),
        (("--admin-api-key", ADMIN), {}, "TWOWIRE_ADMIN_API_KEY or --admin-api-key-file"),
    ],
)
def test_options_that_make_no_sense_stop_the_start(
    flags: tuple[str, ...], environ: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, environ)
    assert reason in str(caught.value)
    assert ADMIN not in str(caught.value)
