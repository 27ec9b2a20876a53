"""The interface of a store of responses and conversations, and its limits.

Everything belongs to an owner, the label of an API key, or "" without keys; for other owners it does not exist. A store
does not parse the JSON of bodies and items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from engine.option import Option
from protocol.responses.request import HostedTools

ENTRY_BYTES = 1024
ITEM_BYTES = 256
"""The approximate overhead of an entry and an item. It is counted, or small ones would be free."""

CONVERSATION_BYTES = 16 << 20
"""How large a conversation may become in the memory that several API servers share: they send it to each other."""

FILE_PREFIX = "sqlite:"
MEMORY, SHARED = "memory", "shared"


def _check_store(value: str) -> str:
    if value not in (MEMORY, SHARED) and not (value.startswith(FILE_PREFIX) and len(value) > len(FILE_PREFIX)):
        raise ValueError(f"must be memory, {FILE_PREFIX}FILE or {SHARED}, got {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class ResponsesOptions:
    """Where responses are kept, how many, and for how long."""

    store: Annotated[
        str,
        Option(
            "Where to keep responses and conversations: memory (the first API server's, if there are several); "
            "sqlite:FILE, which survives a restart; or shared, in the store that --store names, for several servers.",
            metavar="WHERE",
            check=_check_store,
        ),
    ] = MEMORY
    max_bytes: Annotated[
        int,
        Option(
            "The maximum size of all stored responses and conversations, in bytes; the least recently used are "
            "deleted first.",
            ge=1 << 20,
        ),
    ] = 256 << 20
    max_per_key: Annotated[
        int,
        Option(
            "The maximum number of responses and conversations stored for one API key; without keys, for all clients "
            "together.",
            ge=1,
        ),
    ] = 10_000
    keep_s: Annotated[int, Option("How long a response or conversation is kept after it was last continued.", ge=1)] = (
        2_592_000
    )
    hosted_tools: Annotated[
        HostedTools,
        Option(
            "What to do with requests that have tools which this server does not run, such as web_search: refuse "
            "them, or omit the tools. For clients that cannot send hosted_tools themselves."
        ),
    ] = "refuse"
    max_background: Annotated[
        int, Option("The maximum number of background responses of one API key, running or waiting.", ge=1)
    ] = 64


class Item(NamedTuple):
    """An item and its id."""

    id: str
    json: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A response, with the items of its own input and of its output, or a conversation, with its items."""

    id: str
    owner: str
    body: bytes
    """The object as JSON, with an empty list in place of the output."""
    items: tuple[Item, ...] = ()
    output: tuple[Item, ...] = ()
    parent: str | None = None
    """The response that this one continues."""

    @property
    def size(self) -> int:
        """The bytes that count toward the limit."""
        return ENTRY_BYTES + len(self.body) + size_of(self.items) + size_of(self.output)


def size_of(items: Sequence[Item]) -> int:
    """The bytes of `items` that count toward the limit."""
    return sum(ITEM_BYTES + len(item.json) for item in items)


class ResponseStore(Protocol):
    """Keeps entries until they are deleted, too old, or have to make room.

    Each method is atomic, and its changes are stored when it returns. Raises `TwowireError` (503) if the store does
    not work.
    """

    @property
    def totals(self) -> tuple[int, int]:
        """How many entries are kept, and their bytes, as far as this process knows."""

    @property
    def max_conversation_bytes(self) -> int:
        """How large an entry may become by `append`."""

    async def put(self, entry: Entry) -> bool:
        """Store `entry`, replacing one with the same id. False if it is too large for the store."""

    async def get(self, owner: str, entry_id: str) -> Entry | None:
        """The entry of that id."""

    async def head(self, owner: str, entry_id: str) -> Entry | None:
        """The entry without its items and output, which are not read."""

    async def chain(self, owner: str, entry_id: str) -> list[Entry] | None:
        """The entry and those it continues, oldest first. None if one of them is gone. All of them count as used."""

    async def find_item(self, owner: str, item_id: str) -> bytes | None:
        """An item, in the input or output of any entry."""

    async def replace(self, owner: str, entry_id: str, body: bytes) -> bool:
        """Replace the entry's body. False if there is no such entry, or it would be too large."""

    async def append(self, owner: str, entry_id: str, items: Sequence[Item]) -> bool:
        """Append items; the entry counts as used. False if there is no such entry, or it would be too large."""

    async def remove_item(self, owner: str, entry_id: str, item_id: str) -> bool:
        """Remove one item of `items`. False if there is no such item."""

    async def delete(self, owner: str, entry_id: str) -> bool:
        """Delete the entry. False if there is no such entry."""

    async def close(self) -> None:
        """Release what the store holds."""
