"""What a caller's responses continue, and where they are kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.stores.responses.base import Entry, ResponsesOptions
from app.stores.responses.history import StoredHistory, response_of
from app.stores.responses.memory import MemoryResponses
from protocol.errors import Fault, TwowireError


def response(name: str, **more: Any) -> bytes:
    output = [{"type": "message", "id": f"msg_{name}", "content": name}]
    return orjson.dumps({"id": name, "status": "completed", "output": output, "store": True, "metadata": {}} | more)


def asked(name: str) -> list[dict[str, Any]]:
    return [{"type": "message", "id": f"in_{name}", "role": "user"}]


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


async def test_a_response_continues_all_items_of_all_earlier_turns() -> None:
    store = MemoryResponses(ResponsesOptions())
    history = StoredHistory(store, None)
    await history.keep(response("a"), asked("a"))
    await history.keep(response("b", previous_response_id="a"), asked("b"))
    assert ids(await history.before("b", None)) == ["in_a", "msg_a", "in_b", "msg_b"]
    assert await history.before(None, None) == []
    assert (await history.item("msg_a"))["content"] == "a"
    entry = await store.get("", "b")
    assert entry is not None
    assert response_of(entry) == orjson.loads(response("b", previous_response_id="a"))


async def test_a_response_that_is_not_to_be_stored_is_not() -> None:
    history = StoredHistory(MemoryResponses(ResponsesOptions()), None)
    await history.keep(response("a", store=False), asked("a"))
    with pytest.raises(TwowireError) as refused:
        await history.before("a", None)
    assert (refused.value.fault, refused.value.param) == (Fault.PREVIOUS_RESPONSE_NOT_FOUND, "previous_response_id")
    with pytest.raises(TwowireError):
        await history.item("msg_a")


async def test_another_keys_response_does_not_exist() -> None:
    store = MemoryResponses(ResponsesOptions())
    await StoredHistory(store, "alice").keep(response("a"), asked("a"))
    bob = StoredHistory(store, "bob")
    for look in (bob.before("a", None), bob.before(None, "a"), bob.before(None, "conv_1"), bob.item("in_a")):
        with pytest.raises(TwowireError) as refused:
            await look
        assert refused.value.fault.status == 404


async def test_a_conversation_gets_the_items_of_its_responses() -> None:
    store = MemoryResponses(ResponsesOptions())
    history = StoredHistory(store, None)
    await store.put(Entry("conv_1", "", b"{}"))
    conversation = {"conversation": {"id": "conv_1"}}
    await history.keep(response("a", status="in_progress", **conversation), asked("a"))
    assert await history.before(None, "conv_1") == []
    await history.keep(response("a", **conversation), asked("a"))
    await history.keep(response("b", store=False, **conversation), asked("b"))
    assert ids(await history.before(None, "conv_1")) == ["in_a", "msg_a", "in_b", "msg_b"]


async def test_what_cannot_be_kept_is_an_error() -> None:
    history = StoredHistory(MemoryResponses(ResponsesOptions(max_bytes=1 << 20)), None)
    with pytest.raises(TwowireError) as refused:
        await history.keep(response("a", metadata={"x": "y" * (1 << 20)}), asked("a"))
    assert refused.value.fault is Fault.STORE_FAILED
    with pytest.raises(TwowireError) as refused:
        await history.keep(response("a", conversation={"id": "conv_gone"}), asked("a"))
    assert refused.value.fault is Fault.CONVERSATION_NOT_FOUND
