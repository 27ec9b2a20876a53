"""Requests that a browser sends for a web page: whose page may make this server do something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from quart import Response

from app.security.origins import OriginCheck
from protocol.errors import Fault, TwowireError
from tests.app.middleware.test_cors import PREFLIGHT, app_with

EVIL = "https://evil.example"
PAGE = "https://page.example"
HOST = "localhost:8000"
CHAT = "/v1/chat/completions"
KEY = {"TWOWIRE_API_KEYS": "a-long-enough-key"}
BEARER = {"Authorization": "Bearer a-long-enough-key"}


def is_allowed(origin: str, host: str = HOST, *, is_tls: bool = False, allowed: tuple[str, ...] = (PAGE,)) -> bool:
    try:
        OriginCheck(allowed).check([origin], host, is_tls=is_tls)
    except TwowireError as error:
        return error.fault is not Fault.FORBIDDEN_ORIGIN
    return True


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", HOST),
        ("HTTP://LocalHost:8000", HOST),
        ("https://localhost:8000", HOST),
        ("https://chat.example", "chat.example"),
        ("https://chat.example:443", "chat.example"),
        ("http://chat.example", "Chat.Example:80"),
        ("http://[::1]:8000", "[::1]:8000"),
        (PAGE, HOST),
        (PAGE + ":443", HOST),
    ],
)
def test_the_servers_own_origin_and_those_that_are_named_may_call(origin: str, host: str) -> None:
    assert is_allowed(origin, host)


MALFORMED = [
    "http://user@localhost:8000",
    "http://user:word@localhost:8000",
    "http://localhost:8000/",
    "http://localhost:8000/path",
    "http://localhost:8000?x",
    "http://localhost:8000#x",
    "http://localhost:8000, http://localhost:8000",
    "localhost:8000",
    "",
    " ",
]


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (EVIL, HOST),
        ("null", HOST),
        ("null", "null"),
        ("file://", HOST),
        ("file://", ""),
        ("http://localhost", HOST),
        ("http://localhost:8001", HOST),
        ("http://localhost:443", "localhost"),
        ("http://127.0.0.1:8000", HOST),
        ("ftp://localhost:8000", HOST),
        ("http://page.example", HOST),
        ("https://page.example:8443", HOST),
        ("https://page.example.evil.example", HOST),
        *((origin, HOST) for origin in MALFORMED),
    ],
)
def test_no_other_origin_may_call(origin: str, host: str) -> None:
    assert not is_allowed(origin, host)


def test_behind_own_tls_only_https_is_the_own_origin() -> None:
    assert is_allowed("https://localhost:8000", is_tls=True)
    assert not is_allowed("http://localhost:8000", is_tls=True)


def test_a_star_allows_every_page_but_nothing_malformed() -> None:
    for origin in (EVIL, "null", "app://obsidian.md", "file://"):
        assert is_allowed(origin, allowed=("*",))
    assert not is_allowed(MALFORMED[0], allowed=("*",))


def test_two_origins_are_none() -> None:
    with pytest.raises(TwowireError, match="must be one origin"):
        OriginCheck(["*"]).check([PAGE, PAGE], HOST, is_tls=False)


GUARDED = [
    ("POST", CHAT),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/rerank"),
    ("POST", "/v1/ws/tickets"),
    ("DELETE", f"{CHAT}/chatcmpl-1"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("POST", "/nowhere"),
]


async def ask(client: Any, method: str, path: str, headers: Mapping[str, str]) -> Response:
    answer: Response = await client.open(path, method=method, headers=headers)
    return answer


async def code_of(answer: Response) -> str | None:
    body = await answer.get_json() if answer.is_json else {}
    return str(body["error"]["code"]) if "error" in body else None


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_keys_no_foreign_page_may_ask(method: str, path: str) -> None:
    client = app_with().test_client()
    for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"}):
        answer = await ask(client, method, path, headers)
        assert (answer.status_code, await code_of(answer)) == (403, "forbidden_origin")
    said = (await (await ask(client, method, path, {"Origin": EVIL})).get_json())["error"]["message"]
    assert EVIL in said
    assert "--cors-origins" in said


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_the_own_page_a_named_one_and_programs_may_ask(method: str, path: str) -> None:
    client = app_with("--cors-origins", PAGE).test_client()
    for headers in ({}, {"Origin": PAGE}, {"Origin": "http://localhost"}, {"Origin": "https://localhost"}):
        answer = await ask(client, method, path, headers)
        assert await code_of(answer) != "forbidden_origin"


async def test_with_keys_a_page_that_knows_one_may_ask_but_says_where_from() -> None:
    client = app_with(**KEY).test_client()
    assert (await client.get("/v1/models", headers={"Origin": EVIL} | BEARER)).status_code == 200
    for malformed in MALFORMED[:4]:
        answer = await client.get("/v1/models", headers={"Origin": malformed} | BEARER)
        assert (answer.status_code, await code_of(answer)) == (403, "forbidden_origin")


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
async def test_a_browser_that_names_the_site_alone_is_believed(site: str, status: int) -> None:
    client = app_with().test_client()
    assert (await client.post("/v1/ws/tickets", headers={"Sec-Fetch-Site": site})).status_code == status
    assert (await client.get("/v1/models", headers={"Sec-Fetch-Site": site})).status_code == 200


async def test_what_is_public_and_a_preflight_stay_open() -> None:
    client = app_with("--cors-origins", PAGE).test_client()
    for path in ("/", "/docs", "/openapi.json", "/health", "/livez", "/version", "/static/index.js"):
        assert await code_of(await client.get(path, headers={"Origin": EVIL})) != "forbidden_origin"
    assert (await client.options(CHAT, headers=PREFLIGHT)).status_code == 200
    assert (await client.options(CHAT, headers=PREFLIGHT | {"Origin": EVIL})).status_code == 200


@pytest.mark.parametrize("environ", [{}, KEY])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank"])
async def test_a_body_without_a_type_is_refused(path: str, environ: dict[str, str]) -> None:
    client = app_with(**environ).test_client()
    headers = BEARER if environ else {}
    answer = await client.post(path, data=b'{"model":"guide"}', headers=headers)
    assert (answer.status_code, await code_of(answer)) == (415, "unsupported_media_type")
    assert "Content-Type: application/json" in (await answer.get_json())["error"]["message"]
    # Where there is no body, that is what is wrong.
    assert await code_of(await client.post(path, headers=headers)) == "invalid_json"


async def test_a_ticket_needs_no_type() -> None:
    assert (await app_with().test_client().post("/v1/ws/tickets")).status_code == 200
