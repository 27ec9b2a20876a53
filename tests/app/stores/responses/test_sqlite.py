"""The SQLite store: restarts, a killed process, versions, several servers."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.stores.responses.base import Entry, ResponsesOptions
from app.stores.responses.open import check_store
from app.stores.responses.schema import MIGRATIONS
from app.stores.responses.sqlite import SqliteResponses, StoreError
from protocol.errors import Fault, TwowireError
from tests.app.stores.responses.test_stores import entry

WRITER = """
import asyncio, sys
from pathlib import Path
from app.stores.responses.base import Entry, ResponsesOptions
from app.stores.responses.sqlite import SqliteResponses

async def write():
    store = SqliteResponses(Path(sys.argv[1]), ResponsesOptions())
    number = 0
    while True:
        await store.put(Entry(f"r{number}", "", b"x" * 4096))
        print(number, flush=True)
        number += 1

asyncio.run(write())
"""


async def test_what_was_kept_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "responses.db"
    store = SqliteResponses(file, ResponsesOptions())
    await store.put(entry("a", "alice"))
    await store.close()
    store = SqliteResponses(file, ResponsesOptions())
    assert await store.get("alice", "a") == entry("a", "alice")
    await store.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def acknowledged(file: Path) -> int:
    """How many responses a process had stored when it was killed."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(50)]
    os.kill(writer.pid, signal.SIGKILL)
    told += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    return len([line for line in told if line.endswith(b"\n")])


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "responses.db"
    count = await asyncio.to_thread(acknowledged, file)
    assert count >= 50
    store = SqliteResponses(file, ResponsesOptions())
    for number in range(count):
        assert await store.get("", f"r{number}") is not None
    await store.close()


async def test_two_servers_share_a_file_and_its_bounds(tmp_path: Path) -> None:
    file, limits = tmp_path / "responses.db", ResponsesOptions(max_per_key=10)
    stores = [SqliteResponses(file, limits) for _ in range(2)]
    await asyncio.gather(*(stores[number % 2].put(Entry(f"r{number}", "", b"{}")) for number in range(40)))
    found = [number for number in range(40) if await stores[0].get("", f"r{number}") is not None]
    assert len(found) == 10
    assert found == [number for number in range(40) if await stores[1].get("", f"r{number}") is not None]
    for store in stores:
        await store.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "responses.db"
    with sqlite3.connect(file) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StoreError, match="newer version"):
        check_store(ResponsesOptions(store=f"sqlite:{file}"))


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("These are my notes, and no database at all.\n" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        check_store(ResponsesOptions(store=f"sqlite:{file}"))
    with pytest.raises(StoreError, match="cannot be used"):
        check_store(ResponsesOptions(store=f"sqlite:{tmp_path}/missing/responses.db"))


async def test_a_failing_file_is_an_error_that_can_be_retried(tmp_path: Path) -> None:
    store = SqliteResponses(tmp_path / "responses.db", ResponsesOptions())
    await store.close()
    with pytest.raises(TwowireError) as failed:
        await store.put(entry("a"))
    assert (failed.value.fault, failed.value.retry_after_s) == (Fault.STORE_FAILED, 5)
