"""How the pages are served: headers, caching, URLs, and what is not served."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from app.routes.page_files import MEDIA_TYPES
from app.routes.pages import DIAGRAM, DIAGRAM_SCRIPTS, static_folder
from tests.app.routes.pages.page import EVERYTHING, PAGES, Page, make_app

if TYPE_CHECKING:
    # pytest would take it for a class of tests.
    from quart.typing import TestClientProtocol


PARTS = [name for name in EVERYTHING if name.endswith((".js", ".css", ".woff2"))]
WHOLE = [name for name in EVERYTHING if name not in (DIAGRAM, *PARTS)]


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", *(f"/static/{name}" for name in WHOLE)])
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
        "frame-src": "'self'",
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


async def test_a_part_of_a_page_has_a_short_policy_that_forbids_everything(client: TestClientProtocol) -> None:
    for name in PARTS:
        answer = await client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        wanted = "cross-origin" if name in DIAGRAM_SCRIPTS else "same-origin"
        assert answer.headers["Cross-Origin-Resource-Policy"] == wanted
        assert answer.headers["Cache-Control"] == "no-cache"
        assert sum(len(line) + len(value) for line, value in answer.headers) < 500


async def test_a_diagrams_frame_has_an_origin_of_its_own_and_only_its_scripts(client: TestClientProtocol) -> None:
    answer = await client.get(f"/static/{DIAGRAM}")
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["sandbox"] == "allow-scripts"
    assert policy["frame-ancestors"] == "'self'"


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
    # Outside of /static, it may be refused for its missing key instead; neither reveals anything.
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
