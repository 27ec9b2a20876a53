"""An app that serves the pages, and a list of their files."""

from __future__ import annotations

from html.parser import HTMLParser

from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.routes.page_files import MEDIA_TYPES
from app.routes.pages import static_folder
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory

EVERYTHING = sorted(
    path.relative_to(static_folder()).as_posix()
    for path in static_folder().rglob("*.*")
    if path.suffix in MEDIA_TYPES and not path.name.startswith(".")
)
OURS = [name for name in EVERYTHING if not name.startswith("vendor/") and not name.startswith("package")]
PAGES = ("/", "/docs")
VOID_ELEMENTS = {"meta", "link", "img", "br", "hr", "input", "wbr"}


def make_app(*flags: str) -> Quart:
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    # A key is set, so these answers are what everybody may see.
    environment = {"TWOWIRE_API_KEYS": "a-key-for-tests-0123456789"}
    return create_app(make_services(load_settings(list(flags), environment), manager))


class Page(HTMLParser):
    """Collects a page's references, and fails if its elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)
        given = dict(attrs)
        self.references += [given[name] or "" for name in ("href", "src", "action", "srcset") if name in given]
        self.ids += [given["id"] or ""] if "id" in given else []
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in given) else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
