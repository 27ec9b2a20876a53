"""OpenAI's SDK on its own WebSocket for responses: lanes, continuation, errors; and the same events as over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import pytest
import websockets
from openai.lib.responses_websocket import AsyncResponsesWebSocketSession, ResponsesWebSocketLimits
from openai.types.websocket_reconnection import ReconnectingEvent
from websockets.typing import Origin, Subprotocol

from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server

LIMIT_S = 60
LIMITS = ResponsesWebSocketLimits(
    max_lanes=8, max_events_per_lane=1000, max_events=4000, max_bytes_per_lane=1 << 22, max_bytes=1 << 24
)
VARYING = re.compile(
    r'"(?:id|item_id)": ?"[^"]*"|"(?:created_at|completed_at)": ?\d+|"id":"[^"]*"|"obfuscation":"[^"]*"'
)


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": f"Say: {text}", "store": False} | more


async def test_the_sdk_runs_lanes_side_by_side(server: Server) -> None:
    async with (
        asyncio.timeout(LIMIT_S),
        server.async_sdk() as sdk,
        sdk.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        lanes = [session.default, session.lane("a"), session.lane("b")]
        for lane, text in zip(lanes, ("one", "two", "three"), strict=True):
            await lane.send(cast(Any, {"type": "response.create"} | asking(text)))
        finals = [await lane.get_final_response() for lane in lanes]
    assert [final.output_text for final in finals] == ["one", "two", "three"]


def test_the_sdk_without_asyncio_continues_a_response_of_the_connection(server: Server) -> None:
    with server.sdk() as sdk, sdk.responses.connect() as connection:
        connection.response.create(**asking("one"))
        first = _last(connection)
        connection.response.create(**asking("two", previous_response_id=first.response.id))
        second = _last(connection)
        assert second.response.output_text == "two"
        assert second.response.previous_response_id == first.response.id
    with server.sdk() as sdk, sdk.responses.connect() as connection:
        connection.response.create(**asking("three", previous_response_id=second.response.id))
        error = _last(connection)
        assert (error.type, error.status, error.error.code) == ("error", 400, "previous_response_not_found")
        # The client sends all anew, on the same connection.
        connection.response.create(**asking("three"))
        assert _last(connection).response.output_text == "three"


def _last(connection: Any) -> Any:
    """The event that ends the next response."""
    for event in connection:
        if event.type in ("response.completed", "response.incomplete", "response.failed", "error"):
            return event
    raise AssertionError("the connection has ended")


def test_the_sdk_steers_a_response(server: Server) -> None:
    with server.sdk() as sdk, sdk.responses.connect() as connection:
        connection.response.create(model=MODEL, input="Count from 1 to 100000000", store=False)
        first = next(event for event in connection if event.type == "response.created").response
        connection.response.steer(previous_response_id=first.id, input="Say: faster")
        assert next(event for event in connection if event.type == "response.steer.accepted").steer.id
        ended = next(event for event in connection if event.type == "response.incomplete")
        assert ended.response.incomplete_details is not None
        assert ended.response.incomplete_details.reason == "steered"
        went_on = next(event for event in connection if event.type == "response.completed")
        assert went_on.response.output_text == "faster"
        assert went_on.response.previous_response_id == ended.response.id


def test_what_is_stored_is_read_over_http(server: Server) -> None:
    with server.sdk() as sdk:
        with sdk.responses.connect() as connection:
            connection.response.create(**asking("one", store=True))
            made = _last(connection).response
        assert sdk.responses.retrieve(made.id).output_text == "one"
        following = sdk.responses.create(**asking("two", previous_response_id=made.id))
        assert following.output_text == "two"


def events_over_http(server: Server, body: dict[str, Any]) -> list[str]:
    text = httpx.post(f"{server.url}/v1/responses", json=body | {"stream": True}, timeout=LIMIT_S).text
    return [line[6:] for line in text.splitlines() if line.startswith("data: {")]


async def frames(server: Server, body: dict[str, Any], **headers: Any) -> list[str]:
    """The frames of one response."""
    url = server.url.replace("http", "ws", 1) + "/v1/responses"
    got: list[str] = []
    async with asyncio.timeout(LIMIT_S), websockets.connect(url, **headers) as socket:
        await socket.send(json.dumps({"type": "response.create"} | body))
        while not got or json.loads(got[-1])["type"] not in ("response.completed", "response.incomplete", "error"):
            got.append(str(await socket.recv()))
    return got


async def test_the_frames_are_the_events_of_http(server: Server) -> None:
    body = {"model": MODEL, "input": "Count from 1 to 20", "store": False}
    over_http = await asyncio.to_thread(events_over_http, server, body)
    over_socket = await frames(server, body)
    assert [VARYING.sub("", frame) for frame in over_socket] == [VARYING.sub("", event) for event in over_http]
    assert len(over_socket) > 20


async def test_a_browser_offers_a_subprotocol_beside_its_ticket(server: Server) -> None:
    asked = await asyncio.to_thread(httpx.post, f"{server.url}/v1/ws/tickets", timeout=LIMIT_S)
    ticket = asked.json()["ticket"]
    offered = [Subprotocol("openai.responses"), Subprotocol(f"twowire.ticket.{ticket}")]
    url = server.url.replace("http", "ws", 1) + "/v1/responses"
    async with asyncio.timeout(LIMIT_S), websockets.connect(url, subprotocols=offered) as socket:
        assert socket.subprotocol == "openai.responses"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(url, origin=Origin("https://elsewhere.example")):
            pass
    assert refused.value.response.status_code == 403
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(url, subprotocols=[Subprotocol("other")]):
            pass
    assert refused.value.response.status_code == 400


async def test_the_channel_is_there_for_those_who_ask_for_it(server: Server) -> None:
    url = server.url.replace("http", "ws", 1) + "/v1/responses"
    async with asyncio.timeout(LIMIT_S), websockets.connect(url, subprotocols=[Subprotocol("twowire.v1")]) as socket:
        assert json.loads(await socket.recv())["type"] == "connection.ready"


async def test_codex_opens_warms_up_and_goes_on(server: Server) -> None:
    """Its first frames, as Codex sends them."""
    url = server.url.replace("http", "ws", 1) + "/v1/responses"
    headers = {"OpenAI-Beta": "responses_websockets=2026-02-06"}
    common = {
        "type": "response.create",
        "model": MODEL,
        "instructions": "You are Codex.",
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": None,
        "store": False,
        "stream": True,
        "include": [],
        "prompt_cache_key": "thread",
        "client_metadata": {"x-codex-turn-metadata": "{}"},
    }
    context = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment/>"}]}
    async with asyncio.timeout(LIMIT_S), websockets.connect(url, additional_headers=headers) as socket:

        async def last() -> dict[str, Any]:
            while True:
                event: dict[str, Any] = json.loads(await socket.recv())
                if event["type"] in ("response.completed", "response.failed", "error"):
                    return event

        await socket.send(json.dumps(common | {"input": [context], "generate": False}))
        warm = await last()
        assert warm["type"] == "response.completed", warm
        await socket.send(json.dumps({"type": "response.processed", "response_id": warm["response"]["id"]}))
        asked = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say: hello"}]}]
        more = {"input": asked, "previous_response_id": warm["response"]["id"]}
        await socket.send(json.dumps(common | more))
        done = await last()
    assert done["response"]["output"][0]["content"][0]["text"] == "hello"


async def _ending(events: AsyncIterator[Any]) -> Any:
    """The event that ends the next response."""
    async for event in events:
        if event.type in ("response.completed", "response.incomplete", "response.failed", "error"):
            return event
    raise AssertionError("the connection has ended")


async def test_the_sdk_reconnects_to_a_server_that_was_restarted() -> None:
    """It is told 1012, comes back, and sends what it had to send meanwhile; the connection's responses are gone."""
    servers = [await asyncio.to_thread(start_fake_server, env={"FAKE_PACE_S": "0"})]
    codes: list[int | None] = []
    is_lost = asyncio.Event()

    def note(event: ReconnectingEvent) -> None:
        codes.append(event.close_code)
        is_lost.set()

    try:
        async with (
            asyncio.timeout(3 * LIMIT_S),
            servers[0].async_sdk() as sdk,
            sdk.responses.connect(
                on_reconnecting=note, max_retries=1000, initial_delay=0.1, max_delay=0.1
            ) as connection,
        ):
            events = aiter(connection)
            await connection.response.create(**asking("one"))
            first = await _ending(events)
            reading = asyncio.create_task(_ending(events))
            assert await asyncio.to_thread(stop_server, servers[0]) == 0
            await is_lost.wait()
            await connection.response.create(**asking("two", previous_response_id=first.response.id))
            port = ("--port", str(servers[0].port))
            servers.append(await asyncio.to_thread(start_fake_server, *port, env={"FAKE_PACE_S": "0"}))
            error = await reading
            assert (error.type, error.error.code) == ("error", "previous_response_not_found")
            await connection.response.create(**asking("two"))
            assert (await _ending(events)).response.output_text == "two"
        assert codes[0] == 1012
    finally:
        ends = [await asyncio.to_thread(stop_server, server) for server in servers]
    assert ends == [0, 0]
