"""Conversations over HTTP: their lifecycle, paging of items, and ownership."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.routes.responses.apps import ALICE, BOB, CONVERSATIONS, KEYS, App, open_app

GONE = (404, "conversation_not_found")


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text} | more


async def conversation_of(app: App, *texts: str) -> str:
    made = await app.ok("POST", CONVERSATIONS, {"items": [said(text, id=f"msg_{text}") for text in texts]})
    return f"{CONVERSATIONS}/{made['id']}"


def ids(page: dict[str, Any]) -> list[str]:
    return [item["id"] for item in page["data"]]


async def test_a_conversation_is_made_changed_and_deleted() -> None:
    async with open_app() as app:
        made = await app.ok("POST", CONVERSATIONS, {"metadata": {"a": "b"}})
        assert made["id"].startswith("conv_")
        assert (made["object"], made["metadata"]) == ("conversation", {"a": "b"})
        path = f"{CONVERSATIONS}/{made['id']}"
        assert await app.ok("GET", path) == made
        changed = await app.ok("POST", path, {"metadata": {"c": "d"}})
        assert changed == made | {"metadata": {"c": "d"}}
        assert await app.ok("GET", path) == changed
        deleted = await app.ok("DELETE", path)
        assert deleted == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
        assert await app.refused("GET", path) == GONE
        assert await app.refused("DELETE", path) == GONE


async def test_items_are_added_read_and_deleted() -> None:
    async with open_app() as app:
        path = await conversation_of(app, "one")
        added = await app.ok("POST", f"{path}/items", {"items": [said("two"), said("three", id="msg_three")]})
        new_id, given_id = ids(added)
        assert new_id.startswith("msg_")
        assert given_id == "msg_three"
        item = await app.ok("GET", f"{path}/items/{new_id}")
        assert item == added["data"][0]
        assert item["content"] == [{"type": "input_text", "text": "two"}]
        assert (await app.ok("DELETE", f"{path}/items/msg_one"))["object"] == "conversation"
        assert await app.refused("GET", f"{path}/items/msg_one") == (404, "item_not_found")
        assert await app.refused("DELETE", f"{path}/items/msg_one") == (404, "item_not_found")
        assert ids(await app.ok("GET", f"{path}/items?order=asc")) == [new_id, given_id]


async def test_an_item_may_be_added_by_reference() -> None:
    async with open_app() as app:
        await conversation_of(app, "one")
        path = await conversation_of(app)
        await app.ok("POST", f"{path}/items", {"items": [{"type": "item_reference", "id": "msg_one"}]})
        (item,) = (await app.ok("GET", f"{path}/items"))["data"]
        assert item["content"][0]["text"] == "one"
        missing = {"items": [{"type": "item_reference", "id": "msg_other"}]}
        assert await app.refused("POST", f"{path}/items", missing) == (404, "item_not_found")


async def test_lists_come_in_pages() -> None:
    async with open_app() as app:
        path = await conversation_of(app, *"abcde")
        names = [f"msg_{name}" for name in "abcde"]
        page = await app.ok("GET", f"{path}/items")
        assert (ids(page), page["has_more"]) == (names[::-1], False)
        page = await app.ok("GET", f"{path}/items?order=asc&limit=2")
        assert (ids(page), page["first_id"], page["last_id"], page["has_more"]) == (names[:2], "msg_a", "msg_b", True)
        page = await app.ok("GET", f"{path}/items?order=asc&limit=2&after={page['last_id']}")
        assert (ids(page), page["has_more"]) == (names[2:4], True)
        page = await app.ok("GET", f"{path}/items?limit=2&after=msg_b")
        assert (ids(page), page["has_more"]) == (["msg_a"], False)
        page = await app.ok("GET", f"{await conversation_of(app)}/items")
        assert (page["data"], page["first_id"], page["last_id"]) == ([], None, None)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=random", "after=msg_z"])
async def test_a_wrong_page_is_refused(query: str) -> None:
    async with open_app() as app:
        path = await conversation_of(app, "a")
        status, answer = await app.call("GET", f"{path}/items?{query}")
        assert (status, answer["error"]["param"]) == (400, query.partition("=")[0])


async def test_another_keys_conversation_does_not_exist() -> None:
    async with open_app(env=KEYS) as app:
        made = await app.ok("POST", CONVERSATIONS, {"items": [said("a", id="msg_a")]}, ALICE)
        path = f"{CONVERSATIONS}/{made['id']}"
        for method, end, body in (
            ("GET", "", None),
            ("POST", "", {"metadata": {}}),
            ("DELETE", "", None),
            ("GET", "/items", None),
            ("POST", "/items", {"items": [said("b")]}),
            ("GET", "/items/msg_a", None),
            ("DELETE", "/items/msg_a", None),
        ):
            assert await app.refused(method, path + end, body, BOB) == GONE
        assert ids(await app.ok("GET", f"{path}/items", key=ALICE)) == ["msg_a"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [said("a")] * 21}, "items"),
        ({"items": [{"type": "web_search_call"}]}, "items[0].type"),
        ({"metadata": {"a": 1}}, "metadata.a"),
    ],
)
async def test_a_wrong_conversation_is_refused(body: dict[str, Any], param: str) -> None:
    async with open_app() as app:
        status, answer = await app.call("POST", CONVERSATIONS, body)
        assert (status, answer["error"]["param"]) == (400, param)
