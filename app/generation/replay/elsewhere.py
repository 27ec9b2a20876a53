"""Which server a generation runs on, by its id; and what is asked of another one.

The id of a generation begins with the place where it runs: eight hex digits of the server, two of the API server.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Protocol, Self

from app.generation.replay.reader import ReplayReader

ID_DIGITS = 32
SERVER_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A server, and an API server of it."""

    server: str
    number: int = 0

    @classmethod
    def new_server(cls) -> Self:
        """A server with a name that no other has."""
        return cls(secrets.token_hex(SERVER_DIGITS // 2))

    @property
    def id_prefix(self) -> str:
        """What the ids of its generations begin with."""
        return f"{self.server}{self.number:02x}"


def whereabouts_of(answer_id: str) -> Whereabouts | None:
    """Where the generation of that id runs; None if it is no such id."""
    digits = answer_id[-ID_DIGITS:]
    place = digits[: SERVER_DIGITS + 2]
    if len(digits) < ID_DIGITS or not all(digit in "0123456789abcdef" for digit in digits):
        return None
    return Whereabouts(place[:SERVER_DIGITS], int(place[SERVER_DIGITS:], 16))


class Elsewhere(Protocol):
    """The generations of other servers."""

    def has(self, answer_id: str) -> bool:
        """Whether the id is of a generation on another server."""

    async def read(self, how: str, answer_id: str, owner: str | None, token: str, starting_after: int) -> ReplayReader:
        """A reader of that generation: `how` is resume, follow, or watch for one of the same owner.

        Raises `TwowireError`, as the server does that has it; as for an unknown id if that cannot be reached.
        """

    async def ask(self, operation: str, answer_id: str, owner: str | None) -> Any:
        """The result of an operation on that generation, such as cancel; None if its server cannot be reached."""
