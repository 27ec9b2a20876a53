"""LoRA adapters on the real engine: their weights are used, by their requests alone, and nothing about them kills it.

One server for all of it. It computes in float32, so that greedy text does not depend on what else is in the batch. The
adapters' own folders are gone before the first request.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine.adapters.made import make_adapter
from tests.live.servers.server import MODEL, START_TIMEOUT_S, Server, start_server, stop_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * START_TIMEOUT_S)]

CHATS = "/v1/chat/completions"
ADMIN = "admin-key-0123456789"
TOKENS = 24
LIMIT = 3


@dataclass
class Served:
    server: Server
    folder: Path

    def answer(self, model: str) -> str:
        return self.answers(model)[0]

    def answers(self, *models: str) -> list[str]:
        """The greedy answers of all of these, generated at the same time."""

        async def ask() -> list[str]:
            async with httpx.AsyncClient(base_url=self.server.url, timeout=120) as client:
                bodies = [_body(model, TOKENS) for model in models]
                found = await asyncio.gather(*(client.post(CHATS, json=body) for body in bodies))
                assert [one.status_code for one in found] == [200] * len(models), [one.text for one in found]
                return [str(one.json()["choices"][0]["message"]["content"]) for one in found]

        return asyncio.run(ask())

    def change(self, what: str, name: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        return httpx.post(
            f"{self.server.url}/v1/{what}_lora_adapter", json={"lora_name": name, **more}, headers=headers, timeout=120
        )

    def load(self, name: str, seed: int, *, replaces: bool = False, **config: Any) -> httpx.Response:
        """Load a new adapter, whose folder is gone when this returns."""
        folder = make_adapter(self.folder / "new", seed, **config)
        try:
            return self.change("load", name, lora_path=str(folder), load_inplace=replaces)
        finally:
            shutil.rmtree(folder)


def _body(model: str, tokens: int) -> dict[str, Any]:
    # With the seeds used here, every model answers this in another way.
    question = {"role": "user", "content": "What can this server do?"}
    return {"model": model, "messages": [question], "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, temporary = tmp_path_factory.mktemp("adapters"), tmp_path_factory.mktemp("own")
    one, two = make_adapter(folder / "given" / "one", 1), make_adapter(folder / "named" / "two", 2)
    server = start_server(
        *("--dtype", "float32", "--lora", f"one={one}", "--lora-dir", str(two.parent)),
        *("--max-cpu-loras", str(LIMIT), "--max-loras", "2", "--max-lora-rank", "8"),
        env={"TWOWIRE_ADMIN_API_KEY": ADMIN, "TMPDIR": str(temporary)},
    )
    shutil.rmtree(one)
    shutil.rmtree(two)
    yield Served(server, folder)
    code = stop_server(server)
    assert code == 0, "".join(server.log[-60:])
    assert list(temporary.glob("twowire-adapters-*")) == [], "the copies were left behind"


def test_each_request_gets_the_weights_of_its_own_model(served: Served) -> None:
    alone = {model: served.answer(model) for model in (MODEL, "one", "two")}
    assert len(set(alone.values())) == 3
    mixed = [MODEL, "one", "two", MODEL, "two", "one", MODEL, MODEL]
    assert served.answers(*mixed) == [alone[model] for model in mixed]
    assert served.load("three", 3).status_code == 200
    # Now as many are loaded as can be.
    more = served.answers(*mixed, "three", "three")
    assert more[: len(mixed)] == [alone[model] for model in mixed]
    assert more[-1] == more[-2] == served.answer("three")
    assert more[-1] not in alone.values()


def test_a_replaced_adapter_has_the_new_weights_and_old_streams_finish(served: Served) -> None:
    base, old = served.answer(MODEL), served.answer("two")
    with httpx.stream(
        "POST", f"{served.server.url}{CHATS}", json=_body("two", 250) | {"stream": True}, timeout=120
    ) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        assert served.load("two", 4, replaces=True).status_code == 200
        # The old one still has its place, as does its successor: all slots but the spare one are full.
        assert served.answer(MODEL) == base
        rest = [line for line in lines if line]
    assert '"finish_reason":"length"' in rest[-2]
    assert rest[-1] == "data: [DONE]"
    new = served.answer("two")
    assert new not in (base, old)
    assert served.load("two", 2, replaces=True).status_code == 200
    assert served.answer("two") == old


def test_one_that_is_unloaded_in_use_takes_no_new_requests(served: Served) -> None:
    with httpx.stream(
        "POST", f"{served.server.url}{CHATS}", json=_body("one", 250) | {"stream": True}, timeout=120
    ) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        assert served.change("unload", "one").status_code == 200
        refused = httpx.post(f"{served.server.url}{CHATS}", json=_body("one", 1), timeout=60)
        assert refused.status_code == 404
        assert '"finish_reason":"length"' in [line for line in lines if line][-2]
    assert served.load("one", 1).status_code == 200


def test_one_that_cannot_be_loaded_harms_nobody(served: Served) -> None:
    answers = served.answers(MODEL, "one")
    assert served.change("unload", "one").status_code == 200
    restarts = served.server.metric("twowire_engine_restarts")
    # More often than there are places: what was loaded in part is removed.
    for _ in range(LIMIT + 3):
        refused = served.load("bad", 5, init_lora_weights="pissa")
        assert refused.status_code == 400
        assert "init_lora_weights" in refused.json()["error"]["message"]
    assert served.load("bad", 5, r=64).status_code == 400
    assert served.load("one", 1).status_code == 200
    assert served.answers(MODEL, "one") == answers
    assert served.server.metric("twowire_engine_restarts") == restarts


def test_a_new_engine_has_the_adapters_again(served: Served) -> None:
    models = (MODEL, "one", "two")
    answers = served.answers(*models)
    restarts = served.server.metric("twowire_engine_restarts")
    for process in served.server.engine_processes():
        if "EngineCore" in " ".join(process.cmdline()):
            process.kill()

    def is_back() -> bool:
        return served.server.metric("twowire_engine_restarts") > restarts and served.server.is_ready()

    served.server.wait_until(is_back, START_TIMEOUT_S, "the engine did not come back")
    assert served.answers(*models) == answers
