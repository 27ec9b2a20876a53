"""The API page in a real Chromium: it shows every route, tries requests, and stays within the pages' policy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.live.browser.pages import LIMIT_MS, NETWORK, context
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a-key-for-tests-0123456789"
PART_COST = 130_000
SHARES = 4


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with fake_server(env={"TWOWIRE_API_KEYS": KEY}) as server:
        yield server


@asynccontextmanager
async def docs(
    browser: Browser,
    url: str,
    expected: re.Pattern[str] | None = None,
    document: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Page]:
    """The API page in a fresh browser; fails on an error, a warning but `expected`, or a request to another host.

    With `document`, the page shows that one.
    """
    async with context(browser, **options) as made:
        page = await made.new_page()
        page.set_default_timeout(LIMIT_MS)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))

        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not (expected and expected.search(message.text)):
                problems.append(message.text)

        page.on("console", note)
        page.on("request", lambda one: None if one.url.startswith((url, "data:")) else problems.append(one.url))
        if document is not None:
            await page.route("**/openapi.json", lambda route: route.fulfill(json=document))
        await page.goto(f"{url}/docs")
        await page.locator(".opblock").first.wait_for()
        yield page
        assert problems == []


def operation(page: Page, name: str) -> Locator:
    """One route, by its operationId."""
    return page.locator(f"[id$=-{name}]")


async def get_json(page: Page, path: str) -> Any:
    return await page.evaluate("(path) => fetch(path).then((answer) => answer.json())", path)


def parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The document in parts, none of which costs Swagger UI more than about a second of a processor to open."""
    paths: dict[str, Any] = {}
    for path, item in document["paths"].items():
        if paths and cost(only(document, paths | {path: item})) > PART_COST:
            yield only(document, paths)
            paths = {}
        paths[path] = item
    yield only(document, paths)


def cost(document: dict[str, Any]) -> int:
    """What it takes to open all routes of a document: for each, Swagger UI reads the whole of it again."""
    return sum(len(operations(item)) for item in document["paths"].values()) * len(orjson.dumps(document))


def only(document: dict[str, Any], paths: dict[str, Any]) -> dict[str, Any]:
    """The part of the document that describes these paths."""
    components: dict[str, dict[str, Any]] = {"securitySchemes": document["components"]["securitySchemes"]}
    todo: list[object] = [paths]
    while todo:
        for kind, name in re.findall(r'"#/components/(\w+)/([^"]+)"', orjson.dumps(todo.pop()).decode()):
            if name not in components.setdefault(kind, {}):
                components[kind][name] = document["components"][kind][name]
                todo.append(components[kind][name])
    return document | {"paths": paths, "components": components}


def operations(item: dict[str, Any]) -> dict[str, Any]:
    """What a path's item describes, by method."""
    return {method: operation for method, operation in item.items() if method != "parameters"}


async def test_every_route_is_listed_and_nothing_breaks_the_policy(browser: Browser, server: Server) -> None:
    async with docs(browser, server.url) as page:
        paths = (await get_json(page, "/openapi.json"))["paths"]
        described = {(method.upper(), path) for path, item in paths.items() for method in set(item) - {"parameters"}}
        blocks = page.locator(".opblock")
        await expect(blocks).to_have_count(len(described))
        methods = await blocks.locator(".opblock-summary-method").all_inner_texts()
        shown = await blocks.locator(".opblock-summary-path").evaluate_all("all => all.map((one) => one.dataset.path)")
        assert set(zip(methods, shown, strict=True)) == described
        # The introduction, with its table of errors.
        assert await page.locator(".info td code", has_text="context_length_exceeded").count() == 1


@pytest.mark.parametrize("share", range(SHARES))
async def test_every_route_can_be_opened_within_the_policy(browser: Browser, server: Server, share: int) -> None:
    """A part at a time: Swagger UI reads the whole document again for each route that is opened, for seconds."""
    document = (await asyncio.to_thread(httpx.get, f"{server.url}/openapi.json")).json()
    every = list(parts(document))
    assert {path for part in every for path in part["paths"]} == document["paths"].keys()
    shown = only(document, {"/livez": document["paths"]["/livez"]})
    async with docs(browser, server.url, document=shown) as page:
        for part in every[share::SHARES]:
            count = sum(len(operations(item)) for item in part["paths"].values())
            shown.clear()
            shown.update(part)
            await page.reload()
            await expect(page.locator(".opblock")).to_have_count(count)
            controls = page.locator(".opblock-summary-control")
            await controls.evaluate_all("all => all.forEach((one) => one.click())")
            await expect(page.locator(".opblock-body")).to_have_count(count)
            # What it says while it reads the document.
            await expect(page.locator(".opblock-loading-animation")).to_have_count(0)


async def chats_alone(url: str) -> dict[str, Any]:
    """The part that describes chats: in the whole document, Swagger UI takes seconds of a processor to open them."""
    document = (await asyncio.to_thread(httpx.get, f"{url}/openapi.json")).json()
    path = "/v1/chat/completions"
    return only(document, {path: document["paths"][path]})


async def try_chat(page: Page, text: str) -> Locator:
    """Sends a chat with "Try it out"; returns what is shown of the response."""
    chat = operation(page, "createChatCompletion")
    await chat.locator(".opblock-summary-control").click()
    await chat.get_by_role("button", name="Try it out").click()
    body = {"model": "guide", "messages": [{"role": "user", "content": f"Say: {text}"}]}
    await chat.locator("textarea").fill(orjson.dumps(body).decode())
    await chat.get_by_role("button", name="Execute").click()
    return chat.locator(".live-responses-table")


async def test_a_request_can_be_tried(browser: Browser, server: Server) -> None:
    async with docs(browser, server.url, document=await chats_alone(server.url)) as page:
        response = await try_chat(page, "it works")
        await expect(response.locator(".response-col_status").last).to_contain_text("200")
        await expect(response).to_contain_text("it works")


async def test_a_request_can_be_tried_with_a_key(browser: Browser, guarded: Server) -> None:
    # Without the key, the browser itself reports the answer 401 on the console.
    document = await chats_alone(guarded.url)
    async with docs(browser, guarded.url, expected=NETWORK, document=document) as page:
        response = await try_chat(page, "it works")
        await expect(response.locator(".response-col_status").last).to_contain_text("401")
        await page.get_by_role("button", name="Authorize", exact=True).click()
        await page.locator(".auth-container input").fill(KEY)
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Close", exact=True).click()
        await operation(page, "createChatCompletion").get_by_role("button", name="Execute").click()
        await expect(response.locator(".response-col_status").last).to_contain_text("200")
        await expect(response).to_contain_text("it works")


async def test_the_keyboard_is_enough(browser: Browser, server: Server) -> None:
    async with docs(browser, server.url) as page:
        control = operation(page, "livez").locator(".opblock-summary-control")
        await control.focus()
        await page.keyboard.press("Enter")
        await operation(page, "livez").locator(".opblock-body").wait_for()
        focused = "document.activeElement.textContent.trim()"
        for label in ("Try it out", "Execute"):
            while await page.evaluate(focused) != label:
                await page.keyboard.press("Tab")
                assert await page.evaluate("document.activeElement.closest('[id$=-livez]') !== null"), label
            await page.keyboard.press("Enter")
        status = operation(page, "livez").locator(".live-responses-table .response-col_status").last
        await expect(status).to_contain_text("200")


async def test_without_swagger_ui_the_page_says_where_the_document_is(browser: Browser, server: Server) -> None:
    async with context(browser) as made:
        await made.route("**/vendor/**", lambda route: route.abort())
        page = await made.new_page()
        await page.goto(f"{server.url}/docs")
        await expect(page.locator("#content")).to_have_text("Swagger UI is not installed. Read /openapi.json instead.")
        assert await page.locator("#content a").get_attribute("href") == "openapi.json"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_stands_out_from_its_background(browser: Browser, server: Server, axe: str, scheme: str) -> None:
    """By axe's rule alone: the others find names and nesting that are Swagger UI's own."""
    async with docs(browser, server.url, color_scheme=scheme, bypass_csp=True) as page:
        chat = operation(page, "createChatCompletion")
        await chat.locator(".opblock-summary-control").click()
        await chat.get_by_role("button", name="Try it out").click()
        await chat.locator("textarea").wait_for()
        await page.evaluate(axe)
        found = await page.evaluate("axe.run({ runOnly: ['color-contrast'] }).then(({ violations }) => violations)")
        assert [node["html"][:200] for rule in found for node in rule["nodes"]] == []
