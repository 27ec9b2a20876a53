"""Stored responses over HTTP: read, deleted, continued, and their ownership."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.generation.replay.reader import ReplayReader
from app.generation.replay.store import not_found
from app.stores.responses.base import Entry
from protocol.generation import ChatPrompt
from protocol.output import Delta, ToolCallArguments, ToolCallStart
from tests.app.routes.responses.apps import (
    ALICE,
    BOB,
    BODY,
    CONVERSATIONS,
    GONE,
    JSON,
    KEYS,
    RESPONSES,
    App,
    events_of,
    open_app,
)


def asked(app: App) -> list[str]:
    prompt = app.engine.prepared[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return [message["content"] for message in prompt.messages]


async def test_a_response_is_read_again_as_it_was_sent() -> None:
    async with open_app() as app:
        whole = await app.ok("POST", RESPONSES, BODY)
        assert await app.ok("GET", f"{RESPONSES}/{whole['id']}") == whole
        *_, last = await events_of(app, "POST", RESPONSES, BODY | {"stream": True})
        assert last["type"] == "response.completed"
        assert await app.ok("GET", f"{RESPONSES}/{last['response']['id']}") == last["response"]


async def test_a_response_is_there_before_its_last_event() -> None:
    async with open_app() as app, app.app.test_client().request(RESPONSES, method="POST", headers=JSON) as connection:
        await connection.send(orjson.dumps(BODY | {"stream": True}))
        await connection.send_complete()
        received = b""
        while b"response.completed" not in received:
            received += await connection.receive()
        last = received.partition(b"event: response.completed\ndata: ")[2].splitlines()[0]
        response = orjson.loads(last)["response"]
        await connection.disconnect()
        assert await app.ok("GET", f"{RESPONSES}/{response['id']}") == response


async def test_a_response_that_is_not_stored_is_not_there() -> None:
    async with open_app() as app:
        whole = await app.ok("POST", RESPONSES, BODY | {"store": False})
        assert await app.refused("GET", f"{RESPONSES}/{whole['id']}") == GONE
        following = BODY | {"previous_response_id": whole["id"]}
        assert await app.refused("POST", RESPONSES, following) == (404, "previous_response_not_found")


async def test_a_deleted_response_is_gone() -> None:
    async with open_app() as app:
        whole = await app.ok("POST", RESPONSES, BODY)
        path = f"{RESPONSES}/{whole['id']}"
        assert await app.ok("DELETE", path) == {"id": whole["id"], "object": "response", "deleted": True}
        for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            assert await app.refused(method, path + end) == GONE


async def test_input_items_are_those_of_the_request() -> None:
    async with open_app() as app:
        first = await app.ok("POST", RESPONSES, BODY)
        items = [{"role": "user", "content": "two"}, {"role": "assistant", "content": "well"}]
        second = await app.ok("POST", RESPONSES, BODY | {"input": items, "previous_response_id": first["id"]})
        page = await app.ok("GET", f"{RESPONSES}/{second['id']}/input_items?order=asc")
        assert [item["content"][0]["text"] for item in page["data"]] == ["two", "well"]
        assert page["first_id"] == page["data"][0]["id"]


async def test_a_response_is_continued_with_all_that_came_before() -> None:
    async with open_app() as app:
        first = await app.ok("POST", RESPONSES, BODY | {"instructions": "be brief"})
        second = await app.ok("POST", RESPONSES, BODY | {"input": "two", "previous_response_id": first["id"]})
        await app.ok("POST", RESPONSES, BODY | {"input": "three", "previous_response_id": second["id"]})
        assert asked(app) == ["one", "so be it", "two", "so be it", "three"]


async def test_a_conversation_grows_by_its_responses() -> None:
    async with open_app() as app:
        conversation = await app.ok("POST", CONVERSATIONS, {"items": [{"role": "user", "content": "zero"}]})
        body = BODY | {"conversation": conversation["id"], "store": False}
        first = await app.ok("POST", RESPONSES, body)
        assert first["conversation"] == {"id": conversation["id"]}
        await app.ok("POST", RESPONSES, body | {"input": "two", "conversation": {"id": conversation["id"]}})
        assert asked(app) == ["zero", "one", "so be it", "two"]
        page = await app.ok("GET", f"{CONVERSATIONS}/{conversation['id']}/items?order=asc")
        assert [item["content"][0]["text"] for item in page["data"]] == ["zero", "one", "so be it", "two", "so be it"]
        gone = body | {"conversation": "conv_gone"}
        assert await app.refused("POST", RESPONSES, gone) == (404, "conversation_not_found")


async def test_an_item_of_an_earlier_response_can_be_referred_to() -> None:
    async with open_app() as app:
        first = await app.ok("POST", RESPONSES, BODY)
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        await app.ok("POST", RESPONSES, BODY | {"input": [reference, {"role": "user", "content": "two"}]})
        assert asked(app) == ["so be it", "two"]


async def test_another_keys_response_does_not_exist() -> None:
    async with open_app(env=KEYS) as app:
        whole = await app.ok("POST", RESPONSES, BODY, ALICE)
        conversation = await app.ok("POST", CONVERSATIONS, {}, ALICE)
        path = f"{RESPONSES}/{whole['id']}"
        for method, end in (
            ("GET", ""),
            ("GET", "?stream=true"),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/input_items"),
        ):
            assert await app.refused(method, path + end, key=BOB) == GONE
        for more, code in (
            ({"previous_response_id": whole["id"]}, "previous_response_not_found"),
            ({"conversation": conversation["id"]}, "conversation_not_found"),
            ({"input": [{"type": "item_reference", "id": whole["output"][0]["id"]}]}, "item_not_found"),
        ):
            assert await app.refused("POST", RESPONSES, BODY | more, BOB) == (404, code)
        assert await app.ok("GET", path, key=ALICE) == whole


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "99999999999999999"])
async def test_a_wrong_position_is_refused(after: str) -> None:
    async with open_app() as app:
        status, answer = await app.call("GET", f"{RESPONSES}/resp_x?stream=true&starting_after={after}")
        assert (status, answer["error"]["param"]) == (400, "starting_after")


@pytest.mark.parametrize("by", ["previous_response_id", "conversation", "item_reference"])
@pytest.mark.parametrize("written", ["nul", "deep"])
async def test_what_no_client_may_send_is_refused_when_a_model_has_written_it(by: str, written: str) -> None:
    deep = '{"a":' * 70 + "1" + "}" * 70
    call = [Delta(0, "", 1, part=ToolCallStart(0, "call_1", "f")), Delta(0, deep, 1, part=ToolCallArguments(0))]
    step = [Delta(0, "a\0b", 1)] if written == "nul" else call
    async with open_app([[*step, Delta(0, "", 0, "stop")]]) as app:
        conversation = (await app.ok("POST", CONVERSATIONS, {}))["id"]
        more = {"conversation": conversation} if by == "conversation" else {}
        whole = await app.ok("POST", RESPONSES, BODY | more | {"tools": [{"type": "function", "name": "f"}]})
        following: dict[str, Any] = {
            "previous_response_id": BODY | {"previous_response_id": whole["id"]},
            "conversation": BODY | {"conversation": conversation},
            "item_reference": BODY | {"input": [{"type": "item_reference", "id": whole["output"][0]["id"]}]},
        }[by]
        status, answer = await app.call("POST", RESPONSES, following)
    assert (status, answer["error"]["code"]) == (400, "invalid_value")
    assert answer["error"]["param"] == ("input[0].id" if by == "item_reference" else by)
    assert ("NUL" if written == "nul" else "deep") in answer["error"]["message"]


class Sibling:
    """Another API server: one that nothing runs on any more, or that cannot be asked."""

    def __init__(self, *, is_there: bool) -> None:
        self._is_there = is_there

    def has(self, answer_id: str) -> bool:
        return True

    async def read(self, how: str, answer_id: str, owner: str | None, token: str, starting_after: int) -> ReplayReader:
        raise not_found()

    async def ask(self, operation: str, answer_id: str, owner: str | None) -> Any:
        return {"cancel_response": "", "discard_response": False}[operation] if self._is_there else None


async def test_what_runs_on_a_server_that_cannot_be_asked_is_not_cancelled_or_deleted() -> None:
    async with open_app() as app:
        name = f"resp_{app.manager.id_prefix[:8]}01{'0' * 22}"
        path = f"{RESPONSES}/{name}"
        await app.services.responses.put(Entry(name, "", orjson.dumps({"id": name, "status": "in_progress"})))
        app.services.replays.elsewhere = Sibling(is_there=False)
        for method, end in (("POST", "/cancel"), ("DELETE", "")):
            assert await app.refused(method, path + end) == (503, "engine_died")
        assert await app.services.responses.get("", name) is not None
        app.services.replays.elsewhere = Sibling(is_there=True)
        assert (await app.ok("DELETE", path))["deleted"]


async def test_what_has_ended_on_a_server_that_cannot_be_asked_is_deleted() -> None:
    async with open_app() as app:
        name = f"resp_{app.manager.id_prefix[:8]}01{'0' * 22}"
        await app.services.responses.put(Entry(name, "", orjson.dumps({"id": name, "status": "completed"})))
        app.services.replays.elsewhere = Sibling(is_there=False)
        assert (await app.ok("POST", f"{RESPONSES}/{name}/cancel"))["status"] == "completed"
        assert (await app.ok("DELETE", f"{RESPONSES}/{name}"))["deleted"]
