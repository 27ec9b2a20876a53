"""The interface of a store of responses and conversations, and its limits.

Everything belongs to an owner, the label of an API key, or "" where there are no keys. For another owner it does not
exist. A store does not look into what it keeps: bodies and items are JSON to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

from engine.option import Option

ENTRY_BYTES = 1024
ITEM_BYTES = 256
"""About what an entry and an item take beyond their own bytes. Counted too, or small ones would be free."""

FILE_PREFIX = "sqlite:"


def _check_store(value: str) -> str:
    if value != "memory" and not (value.startswith(FILE_PREFIX) and len(value) > len(FILE_PREFIX)):
        raise ValueError(f"must be memory or {FILE_PREFIX}FILE, got {value!r}")
    return value


@dataclass(frozen=True, slots=True)
class ResponsesOptions:
    """Where responses are kept, how many, and for how long."""

    store: Annotated[
        str,
        Option(
            "Where responses and conversations are kept: memory, or sqlite:FILE, which survives a restart and can be "
            "shared by several API servers.",
            metavar="WHERE",
            check=_check_store,
        ),
    ] = "memory"
    max_bytes: Annotated[
        int, Option("How many bytes all kept responses and conversations may take; the oldest go first.", ge=1 << 20)
    ] = 256 << 20
    max_per_key: Annotated[
        int,
        Option(
            "How many responses and conversations are kept for one API key; without keys, for all clients together.",
            ge=1,
        ),
    ] = 10_000
    keep_s: Annotated[
        int, Option("For how many seconds a response or conversation is kept after it was last continued.", ge=1)
    ] = 2_592_000
    max_background: Annotated[
        int, Option("How many background responses of one API key may run or wait at a time.", ge=1)
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
    """The object in JSON, with an empty list where the output is."""
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

    Each method is atomic. What has returned is kept. Raises `TwowireError` (503) if the store does not work.
    """

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, in place of one with its id. False: it alone is larger than the store may be."""

    async def get(self, owner: str, entry_id: str) -> Entry | None:
        """The entry of that id."""

    async def chain(self, owner: str, entry_id: str) -> list[Entry] | None:
        """The entry and those it continues, oldest first. None if one of them is gone. All of them count as used."""

    async def find_item(self, owner: str, item_id: str) -> bytes | None:
        """An item, in the input or output of any entry."""

    async def replace(self, owner: str, entry_id: str, body: bytes) -> bool:
        """Give the entry another body. False if it is not there, or would be too large."""

    async def append(self, owner: str, entry_id: str, items: Sequence[Item]) -> bool:
        """Add items to the end; the entry counts as used. False if it is not there, or would be too large."""

    async def remove_item(self, owner: str, entry_id: str, item_id: str) -> bool:
        """Remove one item of `items`. False if it is not there."""

    async def delete(self, owner: str, entry_id: str) -> bool:
        """Delete the entry. False if it is not there."""

    async def close(self) -> None:
        """Release what the store holds."""
