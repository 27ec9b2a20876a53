"""Describes a field of a limits or configuration dataclass that users can set: its help text, bounds and name.

`app.config` turns each described field into a flag, an environment variable and a key of the configuration file. This
module imports nothing, because the small worker processes import dataclasses that use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Option:
    """Metadata in a field's annotation: `max_num_seqs: Annotated[int, Option("How many …", ge=1)] = 256`.

    The field's type and bounds are enforced where users set it, not where the dataclass is constructed.
    """

    help: str
    name: str | None = None
    """The option's name, if it is not its section's prefix and the field's name."""
    shown: str | None = None
    """The default in words, where its value says nothing."""
    metavar: str | None = None
    """The placeholder for a value in the help; by default it is derived from the name's unit and the type."""
    is_secret: bool = False
    """Error messages do not quote the value."""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    check: Callable[[Any], Any] | None = None
    """Returns the value to use, or raises `ValueError` with what it must be."""
