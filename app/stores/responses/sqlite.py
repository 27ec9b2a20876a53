"""Responses and conversations in an SQLite file, which survives a restart. One thread does all work with the file.

Several API servers may use one file: it is in WAL mode, and its totals are kept by triggers. Acknowledged changes
survive the death of the process; the latest may be lost if the machine loses power (`synchronous = NORMAL`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from app.stores.responses.base import Entry, Item, ResponsesOptions, size_of
from app.stores.responses.schema import MIGRATIONS
from protocol.errors import Fault, TwowireError

T = TypeVar("T")

log = structlog.get_logger(__name__)

BUSY_TIMEOUT_S = 10.0
"""How long to wait for another API server that is writing."""


TOTALS = "SELECT coalesce(sum(entries), 0), coalesce(sum(bytes), 0) FROM totals"


class StoreError(Exception):
    """The file cannot be used; the message is one line."""


class SqliteResponses:
    """Implements `app.stores.responses.base.ResponseStore`."""

    def __init__(self, file: Path, limits: ResponsesOptions, clock: Callable[[], float] = time.time) -> None:
        """Open `file`, or create it, for this user alone. Raises `StoreError`."""
        self._limits = limits
        self.max_conversation_bytes = limits.max_bytes
        self._clock = clock
        self._database = open_file(file)
        self.totals: tuple[int, int] = self._database.execute(TOTALS).fetchone()
        """Those of the whole file when it was last used here."""
        self._thread = ThreadPoolExecutor(1, "responses-store")

    async def put(self, entry: Entry) -> bool:
        return await self._do(self._put, entry)

    async def get(self, owner: str, entry_id: str) -> Entry | None:
        return await self._do(self._get, owner, entry_id)

    async def head(self, owner: str, entry_id: str) -> Entry | None:
        return await self._do(self._head, owner, entry_id)

    async def chain(self, owner: str, entry_id: str) -> list[Entry] | None:
        return await self._do(self._chain, owner, entry_id)

    async def find_item(self, owner: str, item_id: str) -> bytes | None:
        def find() -> bytes | None:
            row = self._database.execute(
                "SELECT json FROM items JOIN entries ON key = entry WHERE items.id = ? AND owner = ? AND used_at > ?",
                (item_id, owner, self._oldest_use()),
            ).fetchone()
            return None if row is None else row[0]

        return await self._do(find)

    async def replace(self, owner: str, entry_id: str, body: bytes) -> bool:
        def change() -> bool:
            entry = self._get(owner, entry_id)
            return entry is not None and self._put(replace(entry, body=body))

        return await self._do(change)

    async def append(self, owner: str, entry_id: str, items: Sequence[Item]) -> bool:
        return await self._do(self._append, owner, entry_id, items)

    async def remove_item(self, owner: str, entry_id: str, item_id: str) -> bool:
        return await self._do(self._remove_item, owner, entry_id, item_id)

    async def delete(self, owner: str, entry_id: str) -> bool:
        def change() -> bool:
            found = self._key(owner, entry_id) is not None
            self._database.execute("DELETE FROM entries WHERE owner = ? AND id = ?", (owner, entry_id))
            return found

        return await self._do(change)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        """Run `work` in the store's thread, as one transaction."""

        def run() -> T:
            with _transaction(self._database):
                found = work(*arguments)
                self.totals = self._database.execute(TOTALS).fetchone()
                return found

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except (sqlite3.Error, RuntimeError) as error:
            log.error("responses_store_failed", error=str(error))
            raise TwowireError(
                Fault.STORE_FAILED, "Responses cannot be stored or read at the moment.", retry_after_s=5
            ) from error

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _oldest_use(self) -> float:
        return self._clock() - self._limits.keep_s

    def _key(self, owner: str, entry_id: str) -> int | None:
        row = self._database.execute(
            "SELECT key FROM entries WHERE owner = ? AND id = ? AND used_at > ?", (owner, entry_id, self._oldest_use())
        ).fetchone()
        return None if row is None else int(row[0])

    def _get(self, owner: str, entry_id: str) -> Entry | None:
        key = self._key(owner, entry_id)
        return None if key is None else self._read(key)

    def _head(self, owner: str, entry_id: str) -> Entry | None:
        key = self._key(owner, entry_id)
        return None if key is None else self._without_items(key)

    def _without_items(self, key: int) -> Entry:
        owner, entry_id, parent, body = self._database.execute(
            "SELECT owner, id, parent, body FROM entries WHERE key = ?", (key,)
        ).fetchone()
        return Entry(entry_id, owner, body, parent=parent)

    def _read(self, key: int) -> Entry:
        items, output = (
            tuple(
                Item(*row)
                for row in self._database.execute(
                    "SELECT id, json FROM items WHERE entry = ? AND is_output = ? ORDER BY position", (key, is_output)
                )
            )
            for is_output in (False, True)
        )
        return replace(self._without_items(key), items=items, output=output)

    def _chain(self, owner: str, entry_id: str) -> list[Entry] | None:
        found: list[Entry] = []
        wanted: str | None = entry_id
        while wanted is not None:
            key = self._key(owner, wanted)
            if key is None:
                return None
            found.append(self._read(key))
            wanted = found[-1].parent
        found.reverse()
        self._database.executemany(
            "UPDATE entries SET used_at = ? WHERE owner = ? AND id = ?",
            [(self._clock(), owner, entry.id) for entry in found],
        )
        return found

    def _put(self, entry: Entry) -> bool:
        if entry.size > self._limits.max_bytes:
            return False
        execute = self._database.execute
        execute("DELETE FROM entries WHERE owner = ? AND id = ?", (entry.owner, entry.id))
        key = execute(
            "INSERT INTO entries (owner, id, parent, body, bytes, used_at) VALUES (?, ?, ?, ?, ?, ?)",
            (entry.owner, entry.id, entry.parent, entry.body, entry.size, self._clock()),
        ).lastrowid
        assert key is not None
        self._add_items(key, 0, entry.items)
        self._add_items(key, 0, entry.output, is_output=True)
        self._make_room(entry.owner, key)
        return True

    def _add_items(self, key: int, start: int, items: Sequence[Item], *, is_output: bool = False) -> None:
        self._database.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
            [(key, is_output, position, item.id, item.json) for position, item in enumerate(items, start)],
        )

    def _append(self, owner: str, entry_id: str, items: Sequence[Item]) -> bool:
        key = self._key(owner, entry_id)
        if key is None:
            return False
        execute = self._database.execute
        (size,) = execute("SELECT bytes FROM entries WHERE key = ?", (key,)).fetchone()
        if size + size_of(items) > self._limits.max_bytes:
            return False
        (last,) = execute("SELECT max(position) FROM items WHERE entry = ? AND NOT is_output", (key,)).fetchone()
        self._add_items(key, 0 if last is None else last + 1, items)
        execute("UPDATE entries SET bytes = bytes + ?, used_at = ? WHERE key = ?", (size_of(items), self._clock(), key))
        self._make_room(owner, key)
        return True

    def _remove_item(self, owner: str, entry_id: str, item_id: str) -> bool:
        entry = self._get(owner, entry_id)
        if entry is None:
            return False
        left = tuple(item for item in entry.items if item.id != item_id)
        return len(left) < len(entry.items) and self._put(replace(entry, items=left))

    def _make_room(self, owner: str, kept: int) -> None:
        """Delete expired entries and those beyond the limits, but not the entry with the key `kept`."""
        execute = self._database.execute
        execute("DELETE FROM entries WHERE used_at <= ?", (self._oldest_use(),))
        (count,) = execute("SELECT entries FROM totals WHERE owner = ?", (owner,)).fetchone()
        if count > self._limits.max_per_key:
            self._delete_oldest(owner, kept, count - self._limits.max_per_key)
        while execute("SELECT sum(bytes) FROM totals").fetchone()[0] > self._limits.max_bytes:
            owners = execute("SELECT owner FROM totals ORDER BY bytes DESC").fetchall()
            # An owner whose only entry is `kept` has nothing to delete.
            if not any(self._delete_oldest(name, kept, 1) for (name,) in owners):
                return

    def _delete_oldest(self, owner: str, kept: int, count: int) -> int:
        return self._database.execute(
            "DELETE FROM entries WHERE key IN "
            "(SELECT key FROM entries WHERE owner = ? AND key != ? ORDER BY used_at, key LIMIT ?)",
            (owner, kept, count),
        ).rowcount


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction that may write. It takes the lock at once, so that another cannot make it fail halfway."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def open_file(file: Path) -> sqlite3.Connection:
    """A connection to `file` with the tables of this version. Raises `StoreError`."""
    try:
        # SQLite would create it readable for everybody, and gives its other two files the same mode.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        database = sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA foreign_keys = ON")
        # Overwrite deleted data.
        database.execute("PRAGMA secure_delete = ON")
        with _transaction(database):
            _migrate(database, file)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{file} cannot be used as an SQLite file: {error}") from error
    return database


def _migrate(database: sqlite3.Connection, file: Path) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{file} was written by a newer version of twowire (tables {version}, known here: {len(MIGRATIONS)})"
        )
    for script in MIGRATIONS[version:]:
        for statement in _statements(script):
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script. (`executescript` would commit the transaction.)"""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
