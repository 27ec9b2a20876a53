"""Opens the store that the options name."""

from __future__ import annotations

from pathlib import Path

from app.stores.responses.base import FILE_PREFIX, ResponsesOptions, ResponseStore
from app.stores.responses.memory import MemoryResponses
from app.stores.responses.sqlite import SqliteResponses, open_file


def open_store(options: ResponsesOptions) -> ResponseStore:
    """The store. Raises `app.stores.responses.sqlite.StoreError` if its file cannot be used."""
    file = _file(options)
    return MemoryResponses(options) if file is None else SqliteResponses(file, options)


def check_store(options: ResponsesOptions) -> None:
    """Raise `StoreError` if the store cannot be opened. Migrates its file to the tables of this version."""
    if (file := _file(options)) is not None:
        open_file(file).close()


def _file(options: ResponsesOptions) -> Path | None:
    if not options.store.startswith(FILE_PREFIX):
        return None
    return Path(options.store.removeprefix(FILE_PREFIX)).expanduser()
