"""Opens the store that the options name."""

from __future__ import annotations

from pathlib import Path

from app.stores.base import Store
from app.stores.responses.base import CONVERSATION_BYTES, FILE_PREFIX, SHARED, ResponsesOptions, ResponseStore
from app.stores.responses.memory import MemoryResponses
from app.stores.responses.shared import SharedResponses
from app.stores.responses.sqlite import SqliteResponses, open_file
from app.stores.shared import SharedStore


def open_responses(options: ResponsesOptions, store: Store, *, of_several: bool = False) -> ResponseStore:
    """The store, which may be in `store`. Raises `app.stores.responses.sqlite.StoreError` if its file is unusable.

    `of_several`: several API servers use it.
    """
    if options.store == SHARED:
        assert isinstance(store, SharedStore), "the settings are checked for that"
        return SharedResponses(store, options)
    file = _file(options)
    if file is not None:
        return SqliteResponses(file, options)
    return MemoryResponses(options, max_conversation_bytes=CONVERSATION_BYTES if of_several else None)


def check_store(options: ResponsesOptions) -> None:
    """Raise `StoreError` if the store cannot be opened. Migrates its file to the tables of this version."""
    if (file := _file(options)) is not None:
        open_file(file).close()


def _file(options: ResponsesOptions) -> Path | None:
    if not options.store.startswith(FILE_PREFIX):
        return None
    return Path(options.store.removeprefix(FILE_PREFIX)).expanduser()
