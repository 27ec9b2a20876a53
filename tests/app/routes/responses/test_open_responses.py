"""The cases that Open Responses asks of a server, ten over HTTP and seven on a socket.

https://www.openresponses.org/
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from protocol.generation import ChatPrompt
from protocol.output import Delta, ToolCallArguments, ToolCallStart
from tests.app.channel.channels import HANDSHAKE
from tests.app.routes.responses.apps import RESPONSES, App, events_of, open_app
from tests.engine.fakes import words

ASK: dict[str, Any] = {"model": "guide", "input": [{"type": "message", "role": "user", "content": "Say hello."}]}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}
CALL = [
    [Delta(0, '{"place":', 1, part=ToolCallStart(0, "call_1", "get_weather"))],
    [Delta(0, '"Rome"}', 1, "tool_calls", part=ToolCallArguments(0))],
]


def is_whole(response: dict[str, Any]) -> bool:
    """A completed response with output."""
    return (response["object"], response["status"]) == ("response", "completed") and bool(response["output"])


def asked(app: App) -> list[tuple[str, str]]:
    prompt = app.engine.prepared[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return [(message["role"], message["content"]) for message in prompt.messages]


async def test_basic_response() -> None:
    async with open_app() as app:
        assert is_whole(await app.ok("POST", RESPONSES, ASK))


async def test_assistant_phase() -> None:
    said = [
        {"type": "message", "role": "user", "content": "Look at the sky."},
        {"type": "message", "role": "assistant", "phase": "commentary", "content": "I am looking."},
        {"type": "message", "role": "assistant", "phase": "final_answer", "content": "It is blue."},
        {"type": "message", "role": "user", "content": "And now?"},
    ]
    async with open_app() as app:
        response = await app.ok("POST", RESPONSES, ASK | {"input": said})
        assert is_whole(response)
        page = await app.ok("GET", f"{RESPONSES}/{response['id']}/input_items?order=asc")
        assert [item.get("phase", "") for item in page["data"]] == ["", "commentary", "final_answer", ""]


async def test_response_output_phase_schema() -> None:
    async with open_app() as app:
        (message,) = (await app.ok("POST", RESPONSES, ASK))["output"]
        # Left out where it is not known: null is not allowed.
        assert message.get("phase", "final_answer") in ("commentary", "final_answer")


async def test_streaming_response() -> None:
    async with open_app() as app:
        events = await events_of(app, "POST", RESPONSES, ASK | {"stream": True})
        assert is_whole(events[-1]["response"])


async def test_system_prompt() -> None:
    said = [{"type": "message", "role": "system", "content": "Talk like a pirate."}, *ASK["input"]]
    async with open_app() as app:
        assert is_whole(await app.ok("POST", RESPONSES, ASK | {"input": said}))
        assert asked(app)[0] == ("system", "Talk like a pirate.")


async def test_tool_calling() -> None:
    async with open_app(CALL) as app:
        response = await app.ok("POST", RESPONSES, ASK | {"tools": [WEATHER], "tool_choice": "auto"})
        (call,) = response["output"]
        assert is_whole(response)
        assert (call["type"], call["name"], call["call_id"]) == ("function_call", "get_weather", "call_1")
        assert (call["arguments"], call["status"]) == ('{"place":"Rome"}', "completed")
        assert response["tools"][0].keys() >= {"name", "description", "parameters", "strict"}


async def test_image_input_is_refused_by_name() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    said = [{"type": "message", "role": "user", "content": [picture]}]
    async with open_app() as app:
        status, answer = await app.call("POST", RESPONSES, ASK | {"input": said})
        assert (status, answer["error"]["param"]) == (400, "input[0].content[0]")


async def test_multi_turn() -> None:
    said = [*ASK["input"], {"type": "message", "role": "assistant", "content": "Hello."}, *ASK["input"]]
    async with open_app() as app:
        assert is_whole(await app.ok("POST", RESPONSES, ASK | {"input": said}))
        assert [role for role, _ in asked(app)] == ["user", "assistant", "user"]


async def test_compact_response() -> None:
    rules = {"type": "message", "role": "developer", "content": "Be brief."}
    async with open_app() as app:
        compact = await app.ok("POST", f"{RESPONSES}/compact", ASK | {"input": [rules, *ASK["input"]]})
        assert compact["object"] == "response.compaction"
        assert [item["type"] for item in compact["output"]] == ["message", "compaction"]
        assert compact["output"][1]["encrypted_content"]
        assert compact["usage"]["total_tokens"] == compact["usage"]["input_tokens"] + compact["usage"]["output_tokens"]
        following = await app.ok("POST", RESPONSES, ASK | {"input": [*compact["output"], *ASK["input"]]})
        assert is_whole(following)
        assert asked(app) == [
            ("developer", "Be brief."),
            ("user", "Summary of the conversation so far:\n\nso be it"),
            ("user", "Say hello."),
        ]


async def test_compacting_what_a_response_continues() -> None:
    async with open_app() as app:
        first = await app.ok("POST", RESPONSES, ASK)
        body = {"model": "guide", "previous_response_id": first["id"]}
        await app.ok("POST", f"{RESPONSES}/compact", body)
        assert [role for role, _ in asked(app)] == ["user", "assistant", "user"]


@pytest.mark.parametrize("more", [{"stream": True}, {"background": True}])
async def test_a_compaction_is_whole(more: dict[str, Any]) -> None:
    async with open_app() as app:
        assert await app.refused("POST", f"{RESPONSES}/compact", ASK | more) == (400, "unsupported_parameter")


async def test_compact_missing_model() -> None:
    async with open_app() as app:
        status, answer = await app.call("POST", f"{RESPONSES}/compact", {"input": ASK["input"]})
        assert (status, answer["error"]["param"]) == (400, "model")


async def test_another_servers_compaction_is_refused() -> None:
    item = {"type": "compaction", "encrypted_content": "gAAAA"}
    async with open_app() as app:
        status, answer = await app.call("POST", RESPONSES, ASK | {"input": [item]})
        assert (status, answer["error"]["param"]) == (400, "input[0].encrypted_content")


async def test_an_empty_summary_loses_nothing() -> None:
    async with open_app(words("")) as app:
        assert (await app.call("POST", f"{RESPONSES}/compact", ASK))[0] == 500


class Socket:
    """A connection, one response at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def create(self, **body: Any) -> dict[str, Any]:
        """The last event of the response to a create."""
        await self._connection.send(orjson.dumps({"type": "response.create", "store": False} | ASK | body).decode())
        while True:
            event: dict[str, Any] = orjson.loads(await self._connection.receive())
            if event["type"] in ("response.completed", "response.failed", "response.incomplete", "error"):
                return event


@asynccontextmanager
async def connected(app: App) -> AsyncIterator[Socket]:
    async with app.app.test_client().websocket(RESPONSES, headers=HANDSHAKE) as connection:
        yield Socket(connection)


async def test_websocket_response() -> None:
    async with open_app() as app, connected(app) as socket:
        assert is_whole((await socket.create())["response"])


async def test_websocket_sequential_responses() -> None:
    async with open_app() as app, connected(app) as socket:
        first, second = await socket.create(), await socket.create()
        assert is_whole(first["response"])
        assert is_whole(second["response"])
        assert first["response"]["id"] != second["response"]["id"]


async def test_websocket_continuation() -> None:
    async with open_app() as app, connected(app) as socket:
        first = await socket.create()
        second = await socket.create(previous_response_id=first["response"]["id"])
        assert is_whole(second["response"])
        assert [role for role, _ in asked(app)] == ["user", "assistant", "user"]


async def test_websocket_reconnect_store_false_recovery() -> None:
    async with open_app() as app:
        async with connected(app) as socket:
            first = (await socket.create())["response"]
        async with connected(app) as socket:
            lost = await socket.create(previous_response_id=first["id"])
            assert (lost["status"], lost["error"]["code"]) == (400, "previous_response_not_found")
            everything = [*ASK["input"], *first["output"], *ASK["input"]]
            assert is_whole((await socket.create(input=everything))["response"])


async def test_websocket_previous_response_not_found() -> None:
    async with open_app() as app, connected(app) as socket:
        lost = await socket.create(previous_response_id="resp_unknown")
        assert (lost["type"], lost["status"], lost["error"]["code"]) == ("error", 400, "previous_response_not_found")
        assert lost["error"].keys() == {"type", "code", "message", "param"}


async def test_websocket_failed_continuation_evicts_cache() -> None:
    async with open_app() as app, connected(app) as socket:
        first = (await socket.create())["response"]
        output = [{"type": "function_call_output", "call_id": "call_unknown", "output": "{}"}]
        failed = await socket.create(previous_response_id=first["id"], input=output)
        assert (failed["type"], failed["status"]) == ("error", 400)
        gone = await socket.create(previous_response_id=first["id"])
        assert gone["error"]["code"] == "previous_response_not_found"


async def test_websocket_compact_new_chain() -> None:
    async with open_app() as app, connected(app) as socket:
        first = (await socket.create())["response"]
        dialogue = [*ASK["input"], *first["output"]]
        compact = await app.ok("POST", f"{RESPONSES}/compact", {"model": "guide", "input": dialogue})
        second = (await socket.create(input=[*compact["output"], *ASK["input"]]))["response"]
        third = (await socket.create(previous_response_id=second["id"]))["response"]
        assert is_whole(second)
        assert is_whole(third)
        assert asked(app)[0][1].startswith("Summary of the conversation so far:")


async def test_a_server_may_omit_hosted_tools_for_all_clients() -> None:
    body = ASK | {"tools": [WEATHER, {"type": "web_search"}]}
    paths = (RESPONSES, f"{RESPONSES}/input_tokens")
    async with open_app() as app:
        for path in paths:
            assert await app.refused("POST", path, body) == (400, "unsupported_content")
        assert await app.ok("POST", f"{RESPONSES}/compact", body)
    async with open_app(flags=("--responses-hosted-tools", "omit")) as app:
        for path in paths:
            assert await app.ok("POST", path, body)
            assert await app.refused("POST", path, body | {"hosted_tools": "refuse"}) == (400, "unsupported_content")
        tools = app.engine.prepared[-1].tools
        assert tools is not None
        assert [tool.name for tool in tools.tools] == ["get_weather"]
