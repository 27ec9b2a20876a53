"""The Korean pages keep step with the English ones: headings, blocks, links, tables and code, section by section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs_blocks.blocks import BLOCK, PAGES, blocks
from tests.test_docs import LINK, SPAN

PAIRS = [(page.with_name(page.name.replace(".ko.md", ".md")), page) for page in PAGES if page.name.endswith(".ko.md")]
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


class Section(NamedTuple):
    """What has to be the same in a section of two languages."""

    level: int
    blocks: list[object]
    links: list[str]
    code: set[str]
    items: int
    table_rows: int


def anchor(heading: str) -> str:
    """The name that links can give to a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> list[str]:
    return [anchor(heading) for _, heading in HEADING.findall(BLOCK.sub("", page.read_text("utf-8")))]


def english(target: str, page: Path) -> str:
    """A link of a page as its English version has it."""
    path, _, name = target.partition("#")
    linked = (page.parent / path) if path else page
    if not linked.name.endswith(".ko.md"):
        return target
    original = linked.with_name(linked.name.replace(".ko.md", ".md"))
    path = path.replace(".ko.md", ".md")
    return f"{path}#{anchors(original)[anchors(linked).index(name)]}" if name else path


def sections(page: Path) -> list[Section]:
    text = page.read_text("utf-8")
    # Headings in blocks are comments.
    hidden = BLOCK.sub(lambda match: re.sub(r"^#", " ", match[0], flags=re.MULTILINE), text)
    starts = [match.start() for match in HEADING.finditer(hidden)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = text[start:end]
        prose = BLOCK.sub("", part)
        links = [english(target, page) for target in LINK.findall(prose)]
        found.append(
            Section(
                level=len(part) - len(part.lstrip("#")),
                blocks=list(blocks(part)),
                links=sorted(link for link in links if not re.fullmatch(r"README(\.ko)?\.md", link)),
                code=set(SPAN.findall(prose)),
                items=len(re.findall(r"^(?:- |\d+\. )", prose, re.MULTILINE)),
                table_rows=len(re.findall(r"^\|", prose, re.MULTILINE)),
            )
        )
    return found


@pytest.mark.parametrize(("original", "translated"), PAIRS, ids=lambda page: page.name)
def test_the_pages_are_in_step(original: Path, translated: Path) -> None:
    assert len(sections(original)) > 3
    assert sections(translated) == sections(original)


def test_readme_and_quickstart_are_there_in_korean() -> None:
    assert {original.name for original, _ in PAIRS} == {"README.md", "quickstart.md"}


def test_a_page_that_lags_behind_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\nSee `--port`.\n\n## B\n\n[b](#b)\n", "utf-8")
    korean = tmp_path / "page.ko.md"
    korean.write_text("# 가\n\n`--port`를 보세요.\n\n## 나\n\n[나](page.ko.md#나)\n", "utf-8")
    assert [section.links for section in sections(korean)] == [[], ["page.md#b"]]
    korean.write_text("# 가\n\n## 나\n", "utf-8")
    assert sections(korean)[0] != sections(page)[0]
    assert sections(korean)[1] != sections(page)[1]
