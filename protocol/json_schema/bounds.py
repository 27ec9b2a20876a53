"""How large a schema may be, so that compiling it takes well under a second and some ten MB.

Measured with llguidance 1.7.6, the grammar engine of vLLM 0.32.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from protocol.errors import Fault
from protocol.validation.request import refusal

MAX_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 32
MAX_SUBSCHEMAS: Final = 5000
MAX_UNKNOWN_KEYWORDS: Final = 200
"""Different ones: each is compared with the keywords that it may be a misspelling of, 50 µs."""
MAX_MEMBERS: Final = 5000
"""Properties, required names and enum values together, in the whole schema."""
MAX_PATTERN_PROPERTIES: Final = 50
"""In one object: each pair is compared, 20 ms for 50 and 900 ms for 200."""
MAX_OBJECT_PROPERTIES: Final = 500
"""In one object: the time grows with their square, 40 ms for 500 and 500 ms for 2000."""
MAX_CONSTANT_CHARS: Final = 1000
"""In each string of `enum` and `const`, and in each property's name."""
MAX_ITEMS: Final = 1000
MAX_ITEMS_SUM: Final = 5000
"""`minItems` and `maxItems` are written out, item by item; a grammar of 65,535 symbols makes llguidance panic."""
MAX_PROPERTY_COUNT: Final = 500
MAX_LENGTH: Final = 100_000
MAX_PATTERN_CHARS: Final = 512
MAX_PATTERN_SUM: Final = 8192
"""Characters in all patterns together."""
MAX_NESTED_REPEATS: Final = 2000
MAX_REPEATS_SUM: Final = 20_000
MAX_ALTERNATIVES: Final = 200
"""In one `anyOf` or `oneOf`, and the product of those that an `allOf` combines."""
MAX_NAMES_APART: Final = 2000
"""Characters in the names of properties beside which `additionalProperties` allows others."""
MAX_NAMES_APART_SUM: Final = 20_000
MAX_COMBINED: Final = 50_000
"""Names that subschemas which apply together are read for and given, each by each: 60 ms, and 1 MB of schema."""
MAX_REFERENCE_CHARS: Final = 1000
MAX_NUMBER: Final = 2**53
"""Above it not every integer is a double, and llguidance would round."""
MAX_DECIMALS: Final = 15
MAX_MULTIPLE: Final = 10_000
"""`multipleOf` without its decimal point: that many states, 80 ms."""
MAX_MULTIPLE_SUM: Final = 30_000


def wrong(predicate: str, at: str) -> Exception:
    """The exception for a schema that is refused: what of it is wrong, and the JSON pointer to where."""
    place = at if len(at) <= 80 else at[:79] + "…"
    return refusal(Fault.INVALID_SCHEMA, f"{predicate} (at {place}).")


class Sums:
    """What is bounded in the whole schema, added up as its parts are read."""

    _LIMITS: Final = {
        "properties and enum values": MAX_MEMBERS,
        "subschemas": MAX_SUBSCHEMAS,
        "multipleOf without decimal points": MAX_MULTIPLE_SUM,
        # llguidance would compute their least common multiple in 32 bits, and overflow silently.
        "multipleOf beside allOf, anyOf, oneOf or $ref": 1,
        "minItems and maxItems": MAX_ITEMS_SUM,
        "characters of names that additionalProperties excludes": MAX_NAMES_APART_SUM,
        "names of properties in subschemas that apply together": MAX_COMBINED,
        "unknown keywords": MAX_UNKNOWN_KEYWORDS,
        "characters of patterns": MAX_PATTERN_SUM,
        "repeats in patterns": MAX_REPEATS_SUM,
    }

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, what: str, count: int, at: str) -> None:
        """Raises where the sum of `what` is now above its bound."""
        self._counts[what] += count
        if self._counts[what] > (limit := self._LIMITS[what]):
            raise wrong(f"has {what} that must sum up to at most {limit}, got {self._counts[what]}", at)
