"""Responses that run in the background or are streamed: followed by their id, streamed again, cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson

from protocol.output import Delta
from tests.app.channel.responses.lane_clients import until
from tests.app.routes.responses.apps import ALICE, BOB, BODY, GONE, JSON, KEYS, RESPONSES, events_of, open_app


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


async def test_a_response_that_has_not_ended_is_not_continued_without_its_output() -> None:
    async with open_app(ends=False) as app:
        running = await app.ok("POST", RESPONSES, BODY | {"background": True})
        following = BODY | {"previous_response_id": running["id"]}
        assert await app.refused("POST", RESPONSES, following) == (400, "invalid_value")
        await app.ok("POST", f"{RESPONSES}/{running['id']}/cancel", {})
