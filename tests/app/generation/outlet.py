"""A socket for the fast path."""

from __future__ import annotations


class Outlet:
    """A socket that takes writes at once, or refuses them."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.is_open = True

    def write(self, part: bytes) -> bool:
        if self.is_open:
            self.parts.append(part)
        return self.is_open
