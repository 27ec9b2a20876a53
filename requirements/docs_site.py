"""mkdocs' hooks for the site of `docs/`: links that leave the folder, and Mermaid from this machine.

https://www.mkdocs.org/user-guide/configuration/#hooks
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
MERMAID = ROOT / "static" / "vendor" / "mermaid.js"
MERMAID_URI = "assets/mermaid.js"
STYLE = """/* On GitHub, every table has a header: hide those that are empty. */
.md-typeset thead:not(:has(th:not(:empty))) { display: none }
"""

PROJECT_PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
}
"""Documents outside `docs/` that are pages of the site, and where."""

FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]*)\]\(([^()\s]+)\)")


def on_config(config: MkDocsConfig) -> None:
    """Show diagrams as code where Mermaid is not installed: the theme would load it from another host."""
    if not MERMAID.exists():
        config.mdx_configs["pymdownx.superfences"]["custom_fences"] = []


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the project's pages, our style, and Mermaid."""
    files.append(File.generated(config, "assets/site.css", content=STYLE))
    for name, uri in PROJECT_PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text("utf-8")))
    if MERMAID.exists():
        files.append(File.generated(config, MERMAID_URI, abs_src_path=str(MERMAID)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to where their targets are on the site, or in the repository."""
    return relink(markdown, page.file.src_uri, config.extra["source_url"])


def relink(markdown: str, page_uri: str, source_url: str) -> str:
    """The text of a page with links for the site.

    A file that is no page becomes a link below `source_url`; without that, only the link's text is left.
    """
    names = {uri: name for name, uri in PROJECT_PAGES.items()}
    folder = posixpath.dirname(names.get(page_uri, f"docs/{page_uri}"))

    def linked(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash_, anchor = target.partition("#")
        found = posixpath.normpath(posixpath.join(folder, path))
        uri = PROJECT_PAGES.get(found) or (found.removeprefix("docs/") if found.startswith("docs/") else None)
        if uri is not None:
            return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(page_uri) or '.')}{hash_}{anchor})"
        return f"[{text}]({source_url.rstrip('/')}/{found}{hash_}{anchor})" if source_url else text

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(linked, part) for part in parts)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Load Mermaid on pages with a diagram, before the theme looks for it."""
    if 'class="mermaid"' not in output:
        return output
    src = posixpath.relpath(MERMAID_URI, posixpath.dirname(page.url) or ".")
    before, theme, after = output.rpartition("<script src=")
    return f'{before}<script src="{src}"></script>\n{theme}{after}'
