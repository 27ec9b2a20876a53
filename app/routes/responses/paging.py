"""Pages of a list of items."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from quart import Response, request

from app.routes.shared.http import json_response
from app.stores.responses.base import Item
from protocol.errors import Fault, TwowireError

DEFAULT_LIMIT, MAX_LIMIT = 20, 100
"""OpenAI's."""


def page_response(items: Sequence[Item]) -> Response:
    """The page of `items`, oldest first, that the query's `limit`, `order` and `after` ask for."""
    limit, order, after = _limit(), request.args.get("order", "desc"), request.args.get("after")
    if order not in ("asc", "desc"):
        raise TwowireError(Fault.INVALID_VALUE, "order must be asc or desc.", param="order")
    ordered = list(items) if order == "asc" else list(reversed(items))
    if after:
        position = next((number for number, item in enumerate(ordered, 1) if item.id == after), None)
        if position is None:
            raise TwowireError(Fault.INVALID_VALUE, "after must be the id of an item of this list.", param="after")
        ordered = ordered[position:]
    return list_response(ordered[:limit], has_more=len(ordered) > limit)


def list_response(items: Sequence[Item], *, has_more: bool = False) -> Response:
    """A list object of `items`."""
    return json_response(
        orjson.dumps(
            {
                "object": "list",
                "data": [orjson.Fragment(item.json) for item in items],
                "first_id": items[0].id if items else None,
                "last_id": items[-1].id if items else None,
                "has_more": has_more,
            }
        )
    )


def _limit() -> int:
    text = request.args.get("limit", str(DEFAULT_LIMIT))
    limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise TwowireError(Fault.INVALID_VALUE, f"limit must be a number from 1 to {MAX_LIMIT}.", param="limit")
    return limit
