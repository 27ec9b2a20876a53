"""Who makes a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """`owner` is the API key's label, None without keys. `client` is whose limits apply: that label, or an address."""

    owner: str | None
    client: str

    @classmethod
    def of(cls, owner: str | None, address: str | None) -> Caller:
        """Without keys, callers are told apart by their address."""
        return cls(owner, owner or address or "")
