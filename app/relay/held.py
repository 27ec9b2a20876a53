"""What API server 0 holds for all API servers of a server, and how it answers them.

Without a store that other servers use as well, tickets and rate limits are in its memory; and without a file or such a
store, so are responses. A connection for it begins with {"op": "hold"}. After that,

    client   {"call": "draw", "with": […]}      as many as it likes, without waiting
    server   {"result": …}                      in the order of the calls

A text stands for bytes, one character for each (ISO 8859-1).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from app.relay.messages import Message, receive, send
from app.stores.base import Draw, Store
from app.stores.responses.base import Entry, ResponsesOptions, ResponseStore
from app.stores.responses.shared import decoded_items, encoded_items

HOLD = "hold"
LATIN = "latin-1"
CHAIN_BYTES = 16 << 20
"""How many bytes of a chain one answer has: a larger one would keep the event loops of both sides busy for too long."""


def line_bytes(options: ResponsesOptions) -> int:
    """The largest message: all responses that may be kept, each byte of which may take two."""
    return 2 * options.max_bytes + (1 << 20)


class Held:
    """Answers the other API servers."""

    def __init__(self, store: Store, responses: ResponseStore, options: ResponsesOptions) -> None:
        self._store = store
        self._responses = responses
        self._line_bytes = line_bytes(options)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of a connection until it closes. Raises `OSError`, `ValueError`, `KeyError`."""
        while (message := await receive(reader, self._line_bytes)) is not None:
            await send(writer, {"result": await self._called(message)})

    async def _called(self, message: Message) -> Any:
        given: list[Any] = message["with"]
        match message["call"]:
            case "draw":
                return list(await self._store.draw([_draw(*each) for each in given]))
            case "claim":
                return await self._store.claim(given[0], given[1])
            case "put":
                return await self._store.put(given[0], given[1].encode(LATIN), ttl_s=given[2])
            case "get":
                value = await self._store.get(given[0])
                return None if value is None else value.decode(LATIN)
            case "delete":
                return await self._store.delete(given[0])
            case "responses":
                operation, owner, name = (text.encode(LATIN).decode() for text in given[:3])
                result = await self._on_responses(operation, owner, name, given[3:])
                return [*self._responses.totals, result]
            case unknown:
                raise ValueError(f"no call {unknown!r}")

    async def _on_responses(self, operation: str, owner: str, name: str, given: Sequence[Any]) -> Any:
        """Do what `app.stores.responses.redis_script` does on Redis."""
        responses = self._responses
        match operation:
            case "put":
                body, parent, _, count, *lines = given
                items = decoded_items([line.encode(LATIN) for line in lines])
                parent = parent.encode(LATIN).decode() or None
                return await responses.put(Entry(name, owner, body.encode(LATIN), items[:count], items[count:], parent))
            case "get":
                found = await responses.get(owner, name)
                return None if found is None else _encoded(found)
            case "head":
                found = await responses.head(owner, name)
                return None if found is None else _encoded(found)
            case "chain":
                chain = await responses.chain(owner, name)
                return None if chain is None else [_encoded(each) for each in _newest(chain)]
            case "find_item":
                item = await responses.find_item(owner, unquote(name))
                return None if item is None else item.decode(LATIN)
            case "replace":
                return await responses.replace(owner, name, given[0].encode(LATIN))
            case "append":
                return await responses.append(owner, name, decoded_items([line.encode(LATIN) for line in given[1:]]))
            case "remove_item":
                return await responses.remove_item(owner, name, unquote(given[0]))
            case "delete":
                return await responses.delete(owner, name)
            case unknown:
                raise ValueError(f"no operation {unknown!r}")


def _draw(key: str, per_minute: int, needed: float | None, *rest: float) -> Draw:
    return Draw(key, per_minute, -math.inf if needed is None else needed, *rest)


def _newest(chain: Sequence[Entry]) -> Sequence[Entry]:
    """The newest entries that one answer may have, and at least one. The others have to be asked for."""
    size = 0
    for count, entry in enumerate(reversed(chain)):
        size += entry.size
        if count and size > CHAIN_BYTES:
            return chain[-count:]
    return chain


def _encoded(entry: Entry) -> list[Any]:
    name, parent = (text.encode().decode(LATIN) for text in (entry.id, entry.parent or ""))
    items, output = ([line.decode(LATIN) for line in encoded_items(each)] for each in (entry.items, entry.output))
    return [name, entry.body.decode(LATIN), parent, items, output]
