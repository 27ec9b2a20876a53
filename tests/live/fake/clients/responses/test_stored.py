"""OpenAI's SDK on stored objects: background responses, input items, conversations; and a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest

from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import MODEL, Server, fake_server, start_fake_server, stop_server

UNFINISHED = ("queued", "in_progress")


def asking(text: str, **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": f"Say: {text}"} | more


def test_a_response_in_the_background_is_polled_and_streamed(server: Server) -> None:
    with server.sdk() as sdk:
        made = sdk.responses.create(**asking("one two three", background=True))
        assert made.status in UNFINISHED
        server.wait_until(lambda: sdk.responses.retrieve(made.id).status not in UNFINISHED, 60, "it did not end")
        found = sdk.responses.retrieve(made.id)
        assert (found.status, found.output_text) == ("completed", "one two three")
        events = list(sdk.responses.retrieve(made.id, stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        rest = list(sdk.responses.retrieve(made.id, stream=True, starting_after=2))
        assert [event.sequence_number for event in rest] == list(range(3, len(events)))


def test_a_response_in_the_background_is_cancelled(server: Server) -> None:
    question = f"Talk. {Dialogue('so it goes on and on', hangs_after=2)}"
    with server.sdk() as sdk:
        made = sdk.responses.create(model=MODEL, input=question, background=True)
        assert sdk.responses.cancel(made.id).status == "cancelled"
        assert sdk.responses.retrieve(made.id).status == "cancelled"
        sdk.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            sdk.responses.retrieve(made.id)


def test_input_items_come_in_pages(server: Server) -> None:
    said: Any = [{"role": "user", "content": text} for text in ("one", "two", "Say: three")]
    with server.sdk() as sdk:
        made = sdk.responses.create(model=MODEL, input=said)
        items = list(sdk.responses.input_items.list(made.id, limit=2, order="asc"))
    texts = [item.content[0].text for item in items]  # type: ignore[union-attr, index]  # all are messages of text
    assert texts == ["one", "two", "Say: three"]


def test_a_conversation_is_kept_by_the_server(server: Server) -> None:
    with server.sdk() as sdk:
        conversation = sdk.conversations.create(items=[{"role": "developer", "content": "Be brief."}])
        first = sdk.responses.create(**asking("one", conversation=conversation.id))
        assert first.conversation
        assert first.conversation.id == conversation.id
        sdk.responses.create(**asking("two", conversation=conversation.id))
        items = list(sdk.conversations.items.list(conversation.id, order="asc"))
        assert [item.role for item in items if item.type == "message"] == [
            *("developer", "user", "assistant", "user", "assistant")
        ]
        added: Any = [{"type": "message", "role": "user", "content": "three"}]
        (item,) = sdk.conversations.items.create(conversation.id, items=added).data
        assert item.id
        assert sdk.conversations.items.retrieve(item.id, conversation_id=conversation.id) == item
        assert sdk.conversations.items.delete(item.id, conversation_id=conversation.id).id == conversation.id
        assert sdk.conversations.update(conversation.id, metadata={"a": "b"}).metadata == {"a": "b"}
        assert sdk.conversations.delete(conversation.id).deleted
        with pytest.raises(openai.NotFoundError):
            sdk.conversations.retrieve(conversation.id)


async def test_the_asynchronous_client_does_the_same(server: Server) -> None:
    async with server.async_sdk() as sdk:
        conversation = await sdk.conversations.create()
        made = await sdk.responses.create(**asking("one", conversation=conversation.id))
        items = [item async for item in sdk.responses.input_items.list(made.id)]
        assert len(items) == 1
        compacted = await sdk.responses.compact(model=MODEL, input="Say: all in short")
        assert compacted.output[-1].type == "compaction"
        await sdk.responses.delete(made.id)
        await sdk.conversations.delete(conversation.id)


def test_a_file_keeps_responses_over_a_killed_server(tmp_path: Path) -> None:
    flags = ("--responses-store", f"sqlite:{tmp_path}/responses.db")
    server = start_fake_server(*flags, env={"FAKE_PACE_S": "0"})
    try:
        with server.sdk() as sdk:
            made = sdk.responses.create(**asking("one"))
            hanging = f"Talk. {Dialogue('so it goes on', hangs_after=1)}"
            unfinished = sdk.responses.create(model=MODEL, input=hanging, background=True)
    finally:
        server.process.kill()
        stop_server(server)
    with fake_server(*flags, env={"FAKE_PACE_S": "0"}) as server, server.sdk() as sdk:
        assert sdk.responses.retrieve(made.id) == made
        following = sdk.responses.create(**asking("two", previous_response_id=made.id))
        assert following.output_text == "two"
        lost = sdk.responses.retrieve(unfinished.id)
        assert lost.status == "failed"
        assert lost.error
        assert lost.error.code == "server_error"
