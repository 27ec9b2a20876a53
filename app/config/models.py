"""More names for the text model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.option import Option

DEFAULT_NAME = "default"


def _check_aliases(aliases: tuple[str, ...]) -> tuple[str, ...]:
    """Each is PATTERN=NAME; patterns are unique."""
    patterns = []
    for alias in aliases:
        pattern, mark, name = alias.partition("=")
        if not (mark and pattern and name) or not pattern.isprintable():
            raise ValueError(f"must be PATTERN=NAME, got {alias!r}")
        if pattern in patterns:
            raise ValueError(f"names {pattern!r} twice")
        patterns.append(pattern)
    return aliases


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Model names that clients have built in."""

    model_alias: Annotated[
        tuple[str, ...],
        Option(
            "Further names for a served text model, for clients with fixed model names: 'claude-*=default'. A * "
            "matches any characters; default is the model's first name.",
            shown="none",
            metavar="PATTERN=NAME",
            check=_check_aliases,
        ),
    ] = ()

    @property
    def aliases(self) -> tuple[tuple[str, str], ...]:
        """The patterns and the names they stand for, in the given order."""
        return tuple((pattern, name) for pattern, _, name in (alias.partition("=") for alias in self.model_alias))
