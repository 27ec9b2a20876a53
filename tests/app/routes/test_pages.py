"""The pages: their headers, their caching, what they refuse to serve, and that they load nothing from elsewhere."""

from __future__ import annotations

import gzip
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.routes.page_files import MEDIA_TYPES
from app.routes.pages import static_folder
from app.server.wiring import make_services
from engine.manager import AdmissionLimits, EngineManager
from tests.engine.fakes import FakeFactory

if TYPE_CHECKING:
    # pytest would take it for a class of tests.
    from quart.typing import TestClientProtocol

PAGES = ("/", "/docs")
EVERYTHING = sorted(
    path.relative_to(static_folder()).as_posix()
    for path in static_folder().rglob("*.*")
    if path.suffix in MEDIA_TYPES and not path.name.startswith(".")
)
OURS = [name for name in EVERYTHING if not name.startswith("vendor/") and not name.startswith("package")]
VOID_ELEMENTS = {"meta", "link", "img", "br", "hr", "input", "wbr"}


def make_app(*flags: str) -> Quart:
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    # A key is set, so that what is answered here is what everybody may see.
    environment = {"TWOWIRE_API_KEYS": "a-key-for-tests-0123456789"}
    return create_app(make_services(load_settings(list(flags), environment), manager))


@pytest.fixture
def client() -> TestClientProtocol:
    return make_app().test_client()


class Page(HTMLParser):
    """Collects what a page refers to, and fails where its elements do not nest."""

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


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", *(f"/static/{name}" for name in EVERYTHING)])
async def test_everything_is_served_with_the_headers_that_shut_a_page_in(client: TestClientProtocol, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "dompurify default 'allow-duplicates'" if path == "/docs" else "dompurify twowire",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "microphone=()" in answer.headers["Permissions-Policy"]
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", EVERYTHING)
async def test_a_file_has_its_media_type_whatever_the_machine_thinks(client: TestClientProtocol, name: str) -> None:
    answer = await client.get(f"/static/{name}")
    assert answer.mimetype == MEDIA_TYPES[Path(name).suffix]
    assert await answer.get_data(as_text=False) == (static_folder() / name).read_bytes()


async def test_a_text_is_compressed_for_who_takes_that_and_both_have_their_own_etag(client: TestClientProtocol) -> None:
    plain = await client.get("/static/channel.js", headers={"Accept-Encoding": "identity, gzip;q=0"})
    packed = await client.get("/static/channel.js", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    body = await packed.get_data(as_text=False)
    assert gzip.decompress(body) == await plain.get_data(as_text=False)
    assert int(packed.headers["Content-Length"]) == len(body)
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    again = {"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]}
    assert (await client.get("/static/channel.js", headers=again)).status_code == 304


async def test_a_changed_file_is_compressed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.routes.pages.static_folder", lambda: tmp_path)
    client = make_app().test_client()
    for letter in (b"a", b"b"):
        (tmp_path / "a.js").write_bytes(letter * 5000)
        answer = await client.get("/static/a.js", headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(await answer.get_data(as_text=False)) == letter * 5000


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", "/static/style.css"])
async def test_who_has_the_content_gets_none_again(client: TestClientProtocol, path: str) -> None:
    first = await client.get(path)
    again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert await again.get_data(as_text=False) == b""
    assert again.headers["ETag"] == first.headers["ETag"]
    other = await client.get(path, headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


async def test_a_changed_file_has_another_etag_although_its_time_and_size_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes.pages.static_folder", lambda: tmp_path)
    file, etags = tmp_path / "a.js", set()
    for text in ("1", "2"):
        file.write_text(text)
        stamp = 1_600_000_000
        os.utime(file, (stamp, stamp))
        etags.add((await make_app().test_client().get("/static/a.js")).headers["ETag"])
    assert len(etags) == 2


@pytest.mark.parametrize(
    "name",
    [
        "none.js",
        "../pyproject.toml",
        "../app/routes/pages.py",
        "..%2fapp/pages.py",
        "%2e%2e/pyproject.toml",
        "..\\app\\pages.py",
        "/etc/passwd",
        "//etc/passwd",
        "a/../../README.md",
        "./style.css",
        "style.css\0.html",
        ".hidden.js",
        "folder",
        "",
    ],
)
async def test_what_is_no_file_of_the_pages_is_an_unknown_url(client: TestClientProtocol, name: str) -> None:
    answer = await client.get(f"/static/{name}")
    body = orjson.loads(await answer.get_data(as_text=False))
    # What is not even under /static may be refused for its missing key instead; nothing is told either way.
    assert (answer.status_code, body["error"]["code"]) in ((404, "unknown_url"), (401, "invalid_api_key"))
    assert set(body["error"]) == {"message", "type", "param", "code"}


async def test_files_outside_the_folder_stay_there_even_if_they_could_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "static"
    inside.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (inside / ".hidden.json").write_text("{}")
    (inside / "note.txt").write_text("not a page's")
    (inside / "open.json").write_text("{}")
    monkeypatch.setattr("app.routes.pages.static_folder", lambda: inside)
    client = make_app().test_client()
    assert (await client.get("/static/open.json")).status_code == 200
    for name in ("../secret.json", "../static/open.json", ".hidden.json", "note.txt"):
        answer = await client.get(f"/static/{name}")
        assert answer.status_code == 404, name
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_well_formed_and_complete(client: TestClientProtocol, path: str) -> None:
    page = Page(await (await client.get(path)).get_data(as_text=True))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.inline == [], "the policy would keep it from working"
    for reference in page.references:
        # Relative, so that a proxy may show the pages below a path of its own.
        assert not re.match(r"/|[a-z]+:", reference), reference
        # The libraries are missing where npm is; the pages cope with that.
        if re.match(r"static/\w+/", reference) and (reference[24:] in EVERYTHING or "/vendor/" not in reference):
            answer = await client.get(f"/{reference}")
            assert answer.status_code == 200, reference
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        elif reference != "metrics" and not reference.startswith(("#", "static/")):
            assert (await client.get(f"/{reference.removeprefix('./')}")).status_code == 200, reference


async def test_an_address_changes_with_the_content_and_an_old_one_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.routes.pages.static_folder", lambda: tmp_path)
    (tmp_path / "index.html").write_text('<head>\n<script type="module" src="static/a.js"></script></head>')
    (tmp_path / "a.js").write_text('import "./b.js";\nimport { c } from "./sub/c.js";\nconst d = import("./d.js");\n')
    (tmp_path / "sub").mkdir()
    for name in ("b.js", "sub/c.js", "d.js"):
        (tmp_path / name).write_text('import "../a.js";' if "/" in name else "")
    client = make_app().test_client()
    before = Page(await (await client.get("/")).get_data(as_text=True)).references
    digest = before[0].split("/")[1]
    assert sorted(before) == [f"static/{digest}/{name}" for name in ("a.js", "b.js", "sub/c.js")]
    (tmp_path / "b.js").write_text("changed")
    after = Page(await (await client.get("/")).get_data(as_text=True)).references
    assert not set(before) & set(after)
    # A page that was loaded before the update still finds its files.
    old, new = await client.get(f"/static/{digest}/b.js"), await client.get(f"/{after[0][:23]}/b.js")
    assert await old.get_data(as_text=True) == await new.get_data(as_text=True) == "changed"
    assert (old.headers["Cache-Control"], "immutable" in new.headers["Cache-Control"]) == ("no-cache", True)
    missing = await client.get(f"/{after[0]}x.js")
    assert (missing.status_code, missing.headers["Cache-Control"]) == (404, "no-store")


async def test_the_chat_names_all_that_it_loads_at_its_start(client: TestClientProtocol) -> None:
    page = Page(await (await client.get("/")).get_data(as_text=True))
    named = {re.sub(r"^static/\w+/", "", reference) for reference in page.references}
    assert {"chat/main.js", "channel.js", "channel/streams.js", "chat/strings/en.js", "dom.js"} <= named
    assert "chat/strings/ko.js" not in named, "it is only loaded where it is spoken"


async def test_the_chat_can_be_installed(client: TestClientProtocol) -> None:
    manifest = orjson.loads(await (await client.get("/manifest.webmanifest")).get_data(as_text=False))
    assert (manifest["start_url"], manifest["scope"]) == ("./", "./")
    for icon in manifest["icons"]:
        assert (await client.get(f"/{icon['src']}")).status_code == 200
    worker = await client.get("/service-worker.js")
    page = Page(await (await client.get("/")).get_data(as_text=True))
    (digest,) = {name.split("/")[1] for name in page.references if name.startswith("static/")}
    assert f'"twowire-{digest}"' in await worker.get_data(as_text=True)
    assert worker.headers["Cache-Control"] == "no-cache"


async def test_pages_that_may_embed_the_chat_are_named() -> None:
    client = make_app("--frame-ancestors", "https://a.example,https://b.example:8443").test_client()
    policy = (await client.get("/")).headers["Content-Security-Policy"]
    assert "frame-ancestors https://a.example https://b.example:8443;" in policy


async def test_a_server_below_a_path_is_found_with_and_without_it() -> None:
    client = make_app("--root-path", "/on/chat/").test_client()
    for path in ("/on/chat/", "/on/chat/docs", "/on/chat/health", "/health"):
        assert (await client.get(path)).status_code in (200, 503), path
    bare = await client.get("/on/chat")
    assert (bare.status_code, bare.headers["Location"]) == (307, "chat/")
    assert (await client.get("/on/chatter")).status_code == 401


@pytest.mark.parametrize("name", OURS)
def test_a_file_loads_nothing_from_another_host_and_makes_no_markup(name: str) -> None:
    text = (static_folder() / name).read_text("utf-8")
    hosts = set(re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z.]+[a-z]", text))
    # The name of a language, which nothing is fetched from; and a specification in a comment.
    assert hosts <= {"http://www.w3.org", "https://html.spec.whatwg.org"}
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "@import"):
        assert word not in text


@pytest.mark.parametrize("name", [name for name in OURS if name.endswith(".js")])
async def test_a_script_imports_what_is_there(client: TestClientProtocol, name: str) -> None:
    text = (static_folder() / name).read_text("utf-8")
    for imported in re.findall(r'^(?:import|export) .*?from "([^"]+)"', text, re.MULTILINE | re.DOTALL):
        assert imported.startswith(("./", "../"))
        target = (static_folder() / name).parent / imported
        found = await client.get(f"/static/{target.resolve().relative_to(static_folder()).as_posix()}")
        assert found.status_code == 200, imported


@pytest.mark.parametrize(
    "name", [name for name in OURS if re.match(r"(docs\.js|chat/)", name) and name.endswith(".js")]
)
def test_a_script_finds_the_elements_it_writes_to(name: str) -> None:
    page = static_folder() / ("docs.html" if name == "docs.js" else "index.html")
    ids = Page(page.read_text("utf-8")).ids
    for wanted in re.findall(r'byId\("([^"]+)"', (static_folder() / name).read_text("utf-8")):
        assert wanted in ids


def words(language: str) -> dict[str, str]:
    """The texts of one language, with the names of what is filled in."""
    text = (static_folder() / "chat" / "strings" / f"{language}.js").read_text("utf-8")
    return dict(re.findall(r'^  (\w+): "(.*)",$', text, re.MULTILINE))


def test_both_languages_say_the_same_things() -> None:
    english, korean = words("en"), words("ko")
    assert len(english) > 100
    assert english.keys() == korean.keys()
    for name, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", korean[name])), name


def test_no_word_is_missing_and_none_is_left_over() -> None:
    sources = [
        (static_folder() / name).read_text("utf-8")
        for name in OURS
        if (name.startswith("chat/") and "strings" not in name and name.endswith(".js")) or name == "index.html"
    ]
    text = "\n".join(sources)
    marked = set(re.findall(r'data-t(?:-label|-title|-placeholder)?="(\w+)"', text))
    assert marked <= words("en").keys()
    assert not {word for word in words("en") if not re.search(rf'"{word}"', text)}


@pytest.mark.parametrize("package", ["marked", "dompurify", "katex", "@highlightjs/cdn-assets", "swagger-ui-dist"])
def test_the_libraries_are_pinned_and_the_lock_names_no_registry(package: str) -> None:
    wanted = orjson.loads((static_folder() / "package.json").read_bytes())
    text = (static_folder() / "package-lock.json").read_text("utf-8")
    versions = wanted["dependencies"] | wanted["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
    lock = orjson.loads(text)
    assert lock["packages"][f"node_modules/{package}"]["version"] == versions[package]
    assert '"resolved"' not in text
