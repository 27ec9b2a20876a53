"""The tables of the SQLite store. A file's version is its `user_version`; to change the tables, add a migration."""

from __future__ import annotations

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE entries (
        key INTEGER PRIMARY KEY,
        owner TEXT NOT NULL,
        id TEXT NOT NULL,
        parent TEXT,
        body BLOB NOT NULL,
        bytes INTEGER NOT NULL,
        used_at REAL NOT NULL,
        UNIQUE (owner, id)
    );
    CREATE INDEX entries_of_owner ON entries (owner, used_at, key);
    CREATE INDEX entries_by_use ON entries (used_at);
    CREATE TABLE items (
        entry INTEGER NOT NULL REFERENCES entries (key) ON DELETE CASCADE,
        is_output INTEGER NOT NULL,
        position INTEGER NOT NULL,
        id TEXT NOT NULL,
        json BLOB NOT NULL,
        PRIMARY KEY (entry, is_output, position)
    );
    CREATE INDEX items_by_id ON items (id);
    CREATE TABLE totals (owner TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL);
    CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
        INSERT INTO totals VALUES (new.owner, 1, new.bytes)
        ON CONFLICT (owner) DO UPDATE SET entries = entries + 1, bytes = bytes + new.bytes;
    END;
    CREATE TRIGGER entry_resized AFTER UPDATE OF bytes ON entries BEGIN
        UPDATE totals SET bytes = bytes + new.bytes - old.bytes WHERE owner = new.owner;
    END;
    CREATE TRIGGER entry_deleted AFTER DELETE ON entries BEGIN
        UPDATE totals SET entries = entries - 1, bytes = bytes - old.bytes WHERE owner = old.owner;
        DELETE FROM totals WHERE owner = old.owner AND entries = 0;
    END;
    """,
)
"""Each brings the file from the version of its index to the next one."""
