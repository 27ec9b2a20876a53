"""Each block of README and of the quickstarts is run by a test, or says why not."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from app.config.load import SettingsError, load_settings
from tests.docs_blocks.blocks import COMMANDS, EMBEDDINGS, PAGES, RUN, URL, Block, blocks, marked, run

NOT_RUN = re.compile(r"not run: \S.{8,}")


def unclear(text: str) -> list[str]:
    """What is wrong with the marks of a page."""
    found = blocks(text)
    problems = [f"a block without a mark: {block}" for block in found if not block.mark]
    problems += [
        f"a mark that is none: {block.mark}"
        for block in found
        if block.mark and block.mark not in (RUN, EMBEDDINGS) and not NOT_RUN.fullmatch(block.mark)
    ]
    problems += [
        f"nothing runs {block.language!r}"
        for block in found
        if block.mark in (RUN, EMBEDDINGS) and block.language not in COMMANDS
    ]
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    return problems + ([f"{fences} fences, {len(found)} blocks"] if fences != 2 * len(found) else [])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    assert unclear(page.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nls\n```\n",
        "<!-- run -->\n\n```bash\nls\n```\n",
        "<!-- not run: -->\n```bash\nls\n```\n",
        "<!-- runs -->\n```bash\nls\n```\n",
        "<!-- run -->\n```toml\na = 1\n```\n",
        "- <!-- run -->\n  ```bash\n  ls\n  ```\n",
    ],
)
def test_a_block_without_a_good_mark_is_found(text: str) -> None:
    assert unclear(text)


def test_there_are_blocks_to_run() -> None:
    assert {block.language for block in marked(RUN)} == COMMANDS.keys()
    assert {block.language for block in marked(EMBEDDINGS)} == {"bash", "python"}


def test_a_block_that_fails_is_found(tmp_path: Path) -> None:
    for block in (
        Block(RUN, "bash", "false\n"),
        Block(RUN, "bash", "echo '{\"error\": {}}'\n"),
        Block(RUN, "bash", f"true {URL}\n"),
        Block(RUN, "python", "print('a')\nraise SystemExit(1)\n"),
    ):
        with pytest.raises(AssertionError):
            run([block], URL, tmp_path)
    run([Block(RUN, "python", f"print('{URL}')\n"), Block(RUN, "python", "import this\n")], URL, tmp_path)


def check_options(block: Block) -> int:
    """Read the options of each `twowire serve` in a block as the command does; returns how many there are."""
    number = 0
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        given = [index for index, word in enumerate(words) if word.endswith("twowire")]
        if block.language == "bash" and given:
            variables = dict(word.split("=", 1) for word in words[: given[0]])
            assert words[given[0] + 1] == "serve"
            load_settings(words[given[0] + 2 :], variables)
            number += 1
    return number


def test_commands_that_serve_have_good_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("keys.txt").write_text("a-key-of-yours\n")
    found = [block for page in PAGES for block in blocks(page.read_text("utf-8"))]
    assert sum(map(check_options, found)) > len(PAGES)
    with pytest.raises(SettingsError, match="at least 8 characters"):
        check_options(Block("", "bash", "TWOWIRE_API_KEYS=short twowire serve\n"))
