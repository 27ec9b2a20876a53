"""What an adapter is, and what loads one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MAX_NAME_CHARS = 128


class AdapterError(Exception):
    """An adapter cannot be served. The message is one sentence for whoever named it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter that has been checked. A name may come again; an id and a folder never do."""

    name: str
    id: int
    folder: Path
    """The server's own copy: the original may change or vanish."""
    source: str
    """The folder it was copied from, as it was given."""
    rank: int
    """The largest of its ranks."""

    @property
    def engine_name(self) -> str:
        """Its name for vLLM, which takes two adapters of one name in a batch for the same."""
        return f"{self.name}@{self.id}"


class AdapterEngine(Protocol):
    """An engine, as far as adapters are concerned."""

    async def load_adapter(self, adapter: Adapter) -> None:
        """Raises `AdapterError`, and then the engine does not have it; `TwowireError` if the engine died meanwhile."""

    async def drop_adapter(self, adapter: Adapter) -> None:
        """Forget an adapter that no request uses. May raise what the engine raises."""


def check_name(name: str) -> None:
    """Raise `AdapterError` unless clients can ask for `name`."""
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable() or " " in name:
        raise AdapterError(f"an adapter's name must be 1 to {MAX_NAME_CHARS} printable characters without spaces")
