"""Stored responses over HTTP: read, streamed again, cancelled, deleted, continued, and their ownership."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from protocol.generation import ChatPrompt
from protocol.output import Delta, ToolCallArguments, ToolCallStart
from tests.app.channel.lane_clients import until
from tests.app.routes.responses.apps import ALICE, BOB, CONVERSATIONS, KEYS, RESPONSES, App, open_app

BODY: dict[str, Any] = {"model": "guide", "input": "one"}
JSON = {"Content-Type": "application/json"}
GONE = (404, "response_not_found")


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


async def test_a_response_in_the_background_needs_no_reader() -> None:
    async with open_app([], ends=False) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        path = f"{RESPONSES}/{made['id']}"
        assert made["status"] in ("queued", "in_progress")
        assert (await app.ok("GET", path))["status"] == made["status"]
        await until(lambda: app.engine.opened)
        stream = app.engine.opened[0]
        stream.feed(Delta(0, "so", 1))
        stream.feed(Delta(0, " be it", 1, "stop"))
        stream.end()
        buffer = app.services.replays.find(made["id"], None)
        assert buffer is not None
        await buffer.wait_finished()
        found = await app.ok("GET", path)
        assert found["status"] == "completed"
        assert found["output"][0]["content"][0]["text"] == "so be it"
        events = await events_of(app, "GET", f"{path}?stream=true")
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["response"] == found
        assert await events_of(app, "GET", f"{path}?stream=true&starting_after=3") == events[4:]


async def test_two_read_a_response_in_the_background_at_once() -> None:
    async with open_app([], ends=False) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        path = f"{RESPONSES}/{made['id']}?stream=true"
        readers = [asyncio.create_task(events_of(app, "GET", path)) for _ in range(2)]
        await until(lambda: app.engine.opened)
        app.engine.opened[0].feed(Delta(0, "so", 1))
        app.engine.opened[0].feed(Delta(0, " be it", 1, "stop"))
        app.engine.opened[0].end()
        first, second = await asyncio.gather(*readers)
        assert first == second
        assert first[-1]["type"] == "response.completed"


async def test_a_streamed_response_in_the_background_survives_its_connection() -> None:
    async with open_app([], ends=False) as app:
        async with app.app.test_client().request(RESPONSES, method="POST", headers=JSON) as connection:
            await connection.send(orjson.dumps(BODY | {"stream": True, "background": True}))
            await connection.send_complete()
            received = b""
            while b"response.in_progress" not in received:
                received += await connection.receive()
            await connection.disconnect()
        response_id = orjson.loads(received.partition(b"data: ")[2].splitlines()[0])["response"]["id"]
        await until(lambda: app.engine.opened)
        app.engine.opened[0].feed(Delta(0, "so", 1, "stop"))
        app.engine.opened[0].end()
        events = await events_of(app, "GET", f"{RESPONSES}/{response_id}?stream=true&starting_after=1")
        assert events[0]["type"] == "response.output_item.added"
        assert events[-1]["type"] == "response.completed"


async def test_a_response_in_the_background_is_cancelled() -> None:
    async with open_app([], ends=False) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        path = f"{RESPONSES}/{made['id']}"
        await until(lambda: app.engine.opened)
        app.engine.opened[0].feed(Delta(0, "so", 1))
        cancelled = await app.ok("POST", f"{path}/cancel")
        assert cancelled["status"] == "cancelled"
        assert app.engine.opened[0].cancelled
        assert await app.ok("GET", path) == cancelled
        assert await app.ok("POST", f"{path}/cancel") == cancelled


async def test_a_response_in_the_background_is_deleted_while_it_runs() -> None:
    async with open_app([], ends=False) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        await until(lambda: app.engine.opened)
        assert (await app.ok("DELETE", f"{RESPONSES}/{made['id']}"))["deleted"]
        assert app.engine.opened[0].cancelled
        assert await app.refused("GET", f"{RESPONSES}/{made['id']}") == GONE


async def test_so_many_responses_of_a_key_run_in_the_background() -> None:
    async with open_app([], ends=False, flags=("--responses-max-background", "1"), env=KEYS) as app:
        body = BODY | {"background": True}
        made = await app.ok("POST", RESPONSES, body, ALICE)
        assert await app.refused("POST", RESPONSES, body, ALICE) == (429, "too_many_background_responses")
        await app.ok("POST", RESPONSES, body, BOB)
        await app.ok("POST", f"{RESPONSES}/{made['id']}/cancel", key=ALICE)
        await app.ok("POST", RESPONSES, body, ALICE)


async def test_a_response_whose_server_died_has_failed() -> None:
    async with open_app([], ends=False) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        buffer = app.services.replays.find(made["id"], None)
        assert buffer is not None
        entry = await app.services.responses.get("", made["id"])
        assert entry is not None
        await app.services.replays.discard(buffer)
        await app.services.responses.put(entry)
        found = await app.ok("GET", f"{RESPONSES}/{made['id']}")
        assert (found["status"], found["error"]["code"]) == ("failed", "server_error")


async def test_a_stop_ends_what_runs_in_the_background() -> None:
    async with open_app([], ends=False) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        await app.manager.stop()
        await app.services.replays.close()
        entry = await app.services.responses.get("", made["id"])
        assert entry is not None
        assert orjson.loads(entry.body)["status"] in ("failed", "cancelled")


async def test_the_events_of_a_response_are_made_again_when_their_buffer_is_gone() -> None:
    async with open_app() as app:
        sent = await events_of(app, "POST", RESPONSES, BODY | {"stream": True, "background": True})
        response_id = sent[0]["response"]["id"]
        path = f"{RESPONSES}/{response_id}?stream=true"
        for _ in range(2):
            assert await events_of(app, "GET", path) == sent
            assert await events_of(app, "GET", f"{path}&starting_after=5") == sent[6:]
            assert await events_of(app, "GET", f"{path}&starting_after={len(sent) - 1}") == []
            buffer = app.services.replays.find(response_id, None)
            if buffer is not None:
                await app.services.replays.discard(buffer)
        assert await app.ok("GET", f"{RESPONSES}/{response_id}") == sent[-1]["response"]


async def test_a_response_that_was_not_streamed_has_events() -> None:
    async with open_app() as app:
        whole = await app.ok("POST", RESPONSES, BODY)
        events = await events_of(app, "GET", f"{RESPONSES}/{whole['id']}?stream=true")
        assert [event["delta"] for event in events if "delta" in event] == ["so be it"]
        assert events[-1]["response"] == whole


async def test_events_are_not_made_of_what_still_runs() -> None:
    async with open_app([], ends=False, flags=("--api-server-count", "2", "--responses-store", "memory")) as app:
        made = await app.ok("POST", RESPONSES, BODY | {"background": True})
        entry = await app.services.responses.get("", made["id"])
        assert entry is not None
        await app.services.responses.put(replace(entry, id="resp_elsewhere"))
        path = f"{RESPONSES}/resp_elsewhere?stream=true"
        assert await app.refused("GET", path) == (410, "chunks_gone")


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "99999999999999999"])
async def test_a_wrong_position_is_refused(after: str) -> None:
    async with open_app() as app:
        status, answer = await app.call("GET", f"{RESPONSES}/resp_x?stream=true&starting_after={after}")
        assert (status, answer["error"]["param"]) == (400, "starting_after")


async def test_a_stream_that_runs_is_cancelled_by_its_id() -> None:
    async with open_app([], ends=False) as app:
        reading = asyncio.create_task(events_of(app, "POST", RESPONSES, BODY | {"stream": True}))
        await until(lambda: app.engine.opened)
        app.engine.opened[0].feed(Delta(0, "so", 1))
        await until(lambda: app.services.generation.kept)
        (response_id,) = app.services.generation.kept
        assert (await app.ok("POST", f"{RESPONSES}/{response_id}/cancel"))["status"] == "cancelled"
        events = await reading
        assert events[-1]["response"]["status"] == "cancelled"
        assert (await app.ok("GET", f"{RESPONSES}/{response_id}")) == events[-1]["response"]


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


async def test_a_response_that_has_not_ended_is_not_continued_without_its_output() -> None:
    async with open_app(ends=False) as app:
        running = await app.ok("POST", RESPONSES, BODY | {"background": True})
        following = BODY | {"previous_response_id": running["id"]}
        assert await app.refused("POST", RESPONSES, following) == (400, "invalid_value")
        await app.ok("POST", f"{RESPONSES}/{running['id']}/cancel", {})
