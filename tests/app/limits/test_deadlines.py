"""What a client may ask for in `X-Request-Timeout` and `timeout_s`, and how it is answered. On a fake engine."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.config.connections import DeadlineLimits
from app.config.load import load_settings
from app.factory import create_app
from app.limits.deadlines import asked_timeout
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import DONE, begin_stream, open_harness
from tests.engine.fakes import FakeFactory

CHAT = {"model": "guide", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("value", ["", "0", "-1", "soon", "nan", "inf", "1,2", "1e999"])
def test_a_value_that_is_no_time_is_refused_and_the_header_named(value: str) -> None:
    with pytest.raises(TwowireError) as refused:
        asked_timeout([value])
    assert refused.value.fault is Fault.INVALID_VALUE
    assert refused.value.param == "X-Request-Timeout"
    assert "X-Request-Timeout" in refused.value.message


def test_the_header_twice_is_refused() -> None:
    with pytest.raises(TwowireError):
        asked_timeout(["1", "1"])


def test_the_shorter_of_the_servers_and_the_clients_time_holds() -> None:
    limited = DeadlineLimits(first_token_s=4, request_s=10)
    assert [limited.starting_now(asked).request_s for asked in (None, 2.5, 20.0)] == [10, 2.5, 10]
    assert limited.starting_now(2.5).first_token_s == 4
    free = DeadlineLimits()
    assert [free.starting_now(asked).request_s for asked in (None, 2.5)] == [None, 2.5]
    assert asked_timeout([]) is None
    assert asked_timeout([" 2.5"]) == 2.5


def test_the_servers_limits_are_those_of_its_settings() -> None:
    flags = ["--request-timeout-s", "10", "--first-token-timeout-s", "4"]
    services = make_services(load_settings(flags, {}), EngineManager(FakeFactory(), AdmissionLimits(1, 0)))
    assert services.deadlines == DeadlineLimits(first_token_s=4, request_s=10)


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions"])
async def test_a_late_answer_is_a_504_and_counted(route: str) -> None:
    manager = EngineManager(FakeFactory(ends=False), AdmissionLimits(1, 0))
    services = make_services(load_settings([], {}), manager)
    app = create_app(services)
    body = CHAT if "chat" in route else {"model": "guide", "prompt": "hi"}
    async with app.test_app():
        await manager.wait_settled()
        client = app.test_client()
        for stream in (False, True):
            async with asyncio.timeout(5):
                answer = await client.post(route, json=body | {"stream": stream}, headers={"X-Request-Timeout": "0.02"})
            assert answer.status_code == 504
            error = orjson.loads(await answer.get_data(as_text=False))["error"]
            assert error["code"] == "deadline_exceeded"
            assert "0.02" in error["message"]
        assert manager.sequences == 0
        wrong = await client.post(route, json=body, headers={"X-Request-Timeout": "soon"})
        assert wrong.status_code == 400
        assert orjson.loads(await wrong.get_data(as_text=False))["error"]["param"] == "X-Request-Timeout"
        figures = services.metrics.exposition().decode()
        assert 'twowire_generation_failures_total{code="deadline_exceeded"} 2.0' in figures


async def test_a_create_may_name_its_time_and_its_neighbour_goes_on() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer, "other")
        await begin_stream(harness, peer, "late", timeout_s=0.5)
        assert (await peer.wait_for("error", "late"))["error"]["code"] == "deadline_exceeded"
        assert (await peer.wait_for(DONE, "late"))["status"] == "failed"
        assert harness.streams[1].cancelled
        harness.streams[0].end()
        assert (await peer.wait_for(DONE, "other"))["status"] == "completed"


async def test_a_create_cannot_ask_for_no_time() -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await peer.create(timeout_s=0)
        assert (await peer.wait_for("error", "a"))["error"]["param"] == "timeout_s"
