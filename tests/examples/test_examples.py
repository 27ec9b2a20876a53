"""Each example is tested and listed, and the list is right."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests import test_docs
from tests.certificates import ROOT
from tests.examples.commands import EXAMPLES, README, command_lines

FILES = sorted(
    path.relative_to(EXAMPLES).as_posix()
    for path in EXAMPLES.rglob("*")
    if path.is_file() and path != README and "__pycache__" not in path.parts
)
PROGRAMS = [name for name in FILES if name.endswith(".py")]


def names_in(tests: Iterable[Path]) -> set[str]:
    """The texts in these tests that may name an example."""
    trees = (ast.parse(path.read_text("utf-8")) for path in tests)
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def those_that_run_examples() -> list[Path]:
    """The tests that run examples; not this file, which names none."""
    uses = "from tests.examples.commands import"
    here = Path(__file__)
    return [path for path in (ROOT / "tests").rglob("test_*.py") if path != here and uses in path.read_text("utf-8")]


def test_there_are_ten() -> None:
    assert len({name.partition("/")[0] for name in FILES}) >= 10


def test_each_is_tested() -> None:
    assert not set(FILES) - names_in(those_that_run_examples())


@pytest.mark.parametrize("name", FILES)
def test_each_is_listed(name: str) -> None:
    text = README.read_text("utf-8")
    top = name.partition("/")[0]
    assert re.search(rf"^\| \[{re.escape(top)}/?\]\({re.escape(top)}\) \|", text, re.MULTILINE), f"no row for {top}"
    assert f"]({name})" in text
    if "/" not in name and name.endswith(".py"):
        assert any(f"examples/{name}" in words for words in command_lines()), f"no command runs {name}"


def test_the_list_names_what_is_there() -> None:
    text = README.read_text("utf-8")
    test_docs.test_make_targets_exist(text)
    test_docs.test_flags_exist(re.sub(r"`--(url|api-key|model)`|python3 .*|nginx .*|caddy .*|claude .*", "", text))
    named = {word for words in command_lines() for word in words if word.startswith("examples/")}
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("name", FILES)
def test_the_files_that_it_names_are_there(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    named = re.findall(r"\b(?:docs|deploy|examples|static)/[\w/.-]*\w", text)
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_say_how_to_run_them_and_are_short(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    assert f"    .venv/bin/python examples/{name}\n" in (ast.get_docstring(ast.parse(text), clean=False) or "")
    assert len(text.splitlines()) <= 120
