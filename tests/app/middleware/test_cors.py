"""Foreign web pages: closed unless origins are configured. Through the app, on a fake engine."""

from __future__ import annotations

import pytest
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory

PAGE = "https://page.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, x-stainless-lang",
}


def app_with(*argv: str, **environ: str) -> Quart:
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    return create_app(make_services(load_settings(argv, environ), manager))


async def test_no_page_may_call_by_default() -> None:
    client = app_with().test_client()
    for answer in (
        await client.get("/v1/models", headers={"Origin": PAGE}),
        await client.options("/v1/chat/completions", headers=PREFLIGHT),
    ):
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/ws/tickets"])
async def test_a_configured_page_may_and_another_may_not(path: str) -> None:
    client = app_with("--cors-origins", PAGE, TWOWIRE_API_KEYS="a-long-enough-key").test_client()
    allowed = await client.options(path, headers=PREFLIGHT)
    assert allowed.status_code == 200, "a preflight carries no key"
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    assert "authorization" in allowed.headers["Access-Control-Allow-Headers"].lower()
    refused = await client.options(path, headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_a_public_page_may_call_into_a_private_network_where_it_may_call() -> None:
    client = app_with("--cors-origins", PAGE).test_client()
    asks = PREFLIGHT | {"Access-Control-Request-Private-Network": "true"}
    name = "Access-Control-Allow-Private-Network"
    assert (await client.options("/v1/chat/completions", headers=asks)).headers[name] == "true"
    for headers in (PREFLIGHT, asks | {"Origin": "https://evil.example"}):
        assert name not in (await client.options("/v1/chat/completions", headers=headers)).headers
    assert name not in (await app_with().test_client().options("/v1/chat/completions", headers=asks)).headers


async def test_an_allowed_page_can_read_errors_and_the_request_id() -> None:
    client = app_with("--cors-origins", PAGE).test_client()
    answer = await client.post("/v1/chat/completions", headers={"Origin": PAGE}, json={})
    assert answer.status_code == 400
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"].lower()


async def test_a_star_lets_everybody_in_without_credentials() -> None:
    client = app_with("--cors-origins", "*").test_client()
    answer = await client.get("/v1/models", headers={"Origin": PAGE})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_form_post_that_needs_no_preflight_is_refused() -> None:
    client = app_with().test_client()
    answer = await client.post("/v1/chat/completions", headers={"Content-Type": "text/plain"}, data=b"{}")
    assert answer.status_code == 415
