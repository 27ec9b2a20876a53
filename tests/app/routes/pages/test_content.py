"""What is in the pages: valid markup, scripts and texts that fit together, and nothing from other hosts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest

from app.routes.pages import static_folder
from tests.app.routes.pages.page import EVERYTHING, OURS, PAGES, Page

if TYPE_CHECKING:
    # pytest would take it for a class of tests.
    from quart.typing import TestClientProtocol


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_well_formed_and_complete(client: TestClientProtocol, path: str) -> None:
    page = Page(await (await client.get(path)).get_data(as_text=True))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.inline == [], "the policy would keep it from working"
    for reference in page.references:
        # Relative, so that a proxy may show the pages below a path of its own.
        assert not re.match(r"/|[a-z]+:", reference), reference
        # Without npm there are no libraries; the pages cope with that.
        if re.match(r"static/\w+/", reference) and (reference[24:] in EVERYTHING or "/vendor/" not in reference):
            answer = await client.get(f"/{reference}")
            assert answer.status_code == 200, reference
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        elif reference != "metrics" and not reference.startswith(("#", "static/")):
            assert (await client.get(f"/{reference.removeprefix('./')}")).status_code == 200, reference


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


@pytest.mark.parametrize("name", OURS)
def test_a_file_loads_nothing_from_another_host_and_makes_no_markup(name: str) -> None:
    text = (static_folder() / name).read_text("utf-8")
    hosts = set(re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z.]+[a-z]", text))
    # An XML namespace, which nothing is fetched from, and a specification in a comment.
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
    """The texts of one language, with their placeholders."""
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


DEPENDENCIES = orjson.loads((static_folder() / "package.json").read_bytes())["dependencies"]


@pytest.mark.parametrize("package", sorted(DEPENDENCIES))
def test_the_libraries_are_pinned_and_the_lock_names_no_registry(package: str) -> None:
    wanted = orjson.loads((static_folder() / "package.json").read_bytes())
    text = (static_folder() / "package-lock.json").read_text("utf-8")
    versions = wanted["dependencies"] | wanted["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions.values())
    lock = orjson.loads(text)
    assert lock["packages"][f"node_modules/{package}"]["version"] == versions[package]
    assert '"resolved"' not in text
