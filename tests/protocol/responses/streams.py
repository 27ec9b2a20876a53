"""Reads event streams: checks the rules that every stream keeps, and returns the result."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]

TEXTS = {
    "message": ("response.output_text", "text"),
    "reasoning": ("response.reasoning_text", "text"),
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}
"""By the type of an item: what the events of its text begin with, and the member that has it when it is complete."""


def text_of(item: dict[str, Any]) -> str:
    """The text of an item."""
    _, member = TEXTS[item["type"]]
    return "".join(part[member] for part in item["content"]) if "content" in item else item[member]


def final_response(events: list[Event]) -> dict[str, Any]:
    """The last event's response, of a stream that keeps all rules."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    response: dict[str, Any] = events[-1]["response"]
    for first in events[:2]:
        assert first["response"]["status"] == "in_progress"
        assert first["response"]["output"] == []
        assert first["response"]["id"] == response["id"]
    left = events[2:-1]
    items: list[dict[str, Any]] = []
    while left:
        items.append(_take_item(left, len(items)))
    assert items == response["output"]
    endings = {"response.completed": "completed", "response.failed": "failed"}
    status = endings.get(events[-1]["type"])
    assert response["status"] == status or (status is None and response["status"] in ("incomplete", "cancelled"))
    return response


def _take_item(left: list[Event], index: int) -> dict[str, Any]:
    """Take the events of one item from the front."""
    added = left.pop(0)
    assert (added["type"], added["output_index"]) == ("response.output_item.added", index)
    item = added["item"]
    assert item["status"] == "in_progress"
    assert text_of(item) == ""
    kind, member = TEXTS[item["type"]]
    place = {"item_id": item["id"], "output_index": index} | ({"content_index": 0} if "content" in item else {})
    if "content" in item:
        _take(left, "response.content_part.added", place)
    text = ""
    while left[0]["type"] == f"{kind}.delta":
        text += _take(left, f"{kind}.delta", place)["delta"]
    done = _take(left, f"{kind}.done", place)
    assert done[member] == text
    if kind == "response.function_call_arguments":
        assert done["name"] == item["name"]
    if "content" in item:
        assert _take(left, "response.content_part.done", place)["part"]["text"] == text
    ended = left.pop(0)
    assert (ended["type"], ended["output_index"]) == ("response.output_item.done", index)
    assert text_of(ended["item"]) == text
    assert {"id", "type"} <= ended["item"].keys()
    assert ended["item"]["id"] == item["id"]
    return dict(ended["item"])


def _take(left: list[Event], kind: str, place: dict[str, Any]) -> Event:
    event = left.pop(0)
    assert event["type"] == kind
    assert {name: event.get(name) for name in place} == place
    if kind.startswith("response.output_text"):
        assert isinstance(event["logprobs"], list)
    return event
