"""The tables of docs/reference/structured-outputs.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from protocol.json_schema import bounds
from protocol.json_schema.keywords import ANNOTATIONS, FOLLOWED, FORMATS, REFUSED

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "structured-outputs.md").read_text("utf-8")


def rows(name: str) -> list[list[str]]:
    table = PAGE.split(f"<!-- {name}:begin -->")[1].split(f"<!-- {name}:end -->")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()[2:]]


def test_every_keyword_has_its_row() -> None:
    code = dict.fromkeys(FOLLOWED, "followed") | dict.fromkeys(REFUSED, "refused")
    code |= dict.fromkeys(ANNOTATIONS, "annotation")
    assert len(code) == len(FOLLOWED) + len(REFUSED) + len(ANNOTATIONS)
    written = {keyword.strip("`"): treatment for keyword, treatment, _ in rows("keywords")}
    assert written == code


def test_the_formats_are_those_that_are_followed() -> None:
    notes = {keyword: note for keyword, _, note in rows("keywords")}
    assert set(re.findall(r"`([\w-]+)`", notes["`format`"])) == FORMATS


def test_every_bound_has_its_row() -> None:
    written = [int(value.split()[0]) for _, value in rows("bounds")]
    code = [
        bounds.MAX_BYTES,
        bounds.MAX_DEPTH,
        bounds.MAX_SUBSCHEMAS,
        bounds.MAX_UNKNOWN_KEYWORDS,
        bounds.MAX_MEMBERS,
        bounds.MAX_OBJECT_PROPERTIES,
        bounds.MAX_PATTERN_PROPERTIES,
        bounds.MAX_CONSTANT_CHARS,
        bounds.MAX_ITEMS,
        bounds.MAX_ITEMS_SUM,
        bounds.MAX_PROPERTY_COUNT,
        bounds.MAX_LENGTH,
        bounds.MAX_PATTERN_CHARS,
        bounds.MAX_PATTERN_SUM,
        bounds.MAX_NESTED_REPEATS,
        bounds.MAX_REPEATS_SUM,
        bounds.MAX_ALTERNATIVES,
        bounds.MAX_NAMES_APART,
        bounds.MAX_NAMES_APART_SUM,
        bounds.MAX_COMBINED,
        bounds.MAX_REFERENCE_CHARS,
        bounds.MAX_DECIMALS,
        bounds.MAX_MULTIPLE,
        bounds.MAX_MULTIPLE_SUM,
    ]
    assert written == code
