"""The site of docs/ builds without a warning, and nothing in it loads from another host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from requirements.docs_site import MERMAID, relink
from tests.certificates import ROOT

SOURCE = "https://source.example/twowire/blob/main"
LOADED = re.compile(r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=\"([^\"]+)|<link\b[^>]*\bhref=\"([^\"]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. mkdocs.yml is strict: a dead link or anchor, or a page that `nav` leaves out, is an error."""
    folder = tmp_path_factory.mktemp("site")
    # Not `--quiet`: it hides warnings from the strict mode, too.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    variables = os.environ | {"SOURCE_URL": SOURCE, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def html(site: Path, page: str) -> str:
    return (site / page / "index.html").read_text("utf-8")


def test_nothing_loads_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    loaded = {found for page in pages for pair in LOADED.findall(page.read_text("utf-8")) for found in pair if found}
    assert not {target for target in loaded if re.match(r"[a-z]+:|//", target)}
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:@import|url\()[\s\"']*(?:https?:)?//[^)]*", styles)


def test_diagrams_are_drawn_without_another_host(site: Path) -> None:
    page = html(site, "explanation/architecture")
    if not MERMAID.exists():
        assert 'class="mermaid"' not in page
        return
    scripts = re.findall(r'<script src="([^"]+)"', page)
    assert scripts[-2].endswith("assets/mermaid.js"), "the theme loads its own unless it finds one"
    assert (site / "explanation" / "architecture" / scripts[-2]).resolve().read_bytes() == MERMAID.read_bytes()
    assert "mermaid.js" not in html(site, "configuration")


def test_links_that_leave_the_folder_lead_to_the_repository(site: Path) -> None:
    found = re.findall(rf'href="{SOURCE}/([^"#]+)', "".join(page.read_text("utf-8") for page in site.rglob("*.html")))
    assert "deploy/nginx.conf" in found
    assert [path for path in set(found) if not (ROOT / path).exists()] == []


def test_the_project_s_documents_are_pages(site: Path) -> None:
    assert 'href="../../project/contributing/#the-life-of-a-request"' in html(site, "explanation/architecture")
    assert 'id="the-life-of-a-request"' in html(site, "project/contributing")


def test_the_search_finds_sections(site: Path) -> None:
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    assert "websocket/#leaving-and-coming-back" in {entry["location"] for entry in entries}


def test_without_a_repository_such_links_are_text() -> None:
    text = "[a](../../deploy/nginx.conf) [b](../../SECURITY.md#reporting) [c](../http.md#errors) [d](#here)"
    assert relink(text, "guides/scaling.md", "") == (
        "a [b](../project/security.md#reporting) [c](../http.md#errors) [d](#here)"
    )


def test_links_of_the_project_s_documents_are_moved_with_them() -> None:
    text = "[a](docs/http.md#errors) [b](CHANGELOG.md)\n\n```md\n[c](docs/http.md)\n```\n"
    assert relink(text, "project/contributing.md", "") == (
        "[a](../http.md#errors) [b](changelog.md)\n\n```md\n[c](docs/http.md)\n```\n"
    )
