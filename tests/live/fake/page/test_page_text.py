"""What the chat page makes of texts: Markdown, attacks, long conversations, other scripts and languages.

And who can use it: by axe's rules, and by the bytes of its first load. The server's engine says what it is told to say.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.live.browser.pages import LAST_ANSWER, Chat, context, opened
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST_LOAD_BYTES = 300_000

MARKDOWN = """A paragraph with **strong** words.

- one
- two with `code`

| Wire | Carries |
|---|--:|
| HTTP | events |

```python
for n in range(3):
    print(n)
```

The end, with $a_1 + b_1$ and \\(c_2 * d_2\\)."""

CODE = "def add(a, b):\n    total = a + b\n\n    return total  # the sum"

ATTACK = """<script>window.hacked = 1</script>

<img src="x" onerror="window.hacked = 2">

[a link](javascript:window.hacked=3) and <a href="javascript:window.hacked=4">another</a>

<javascript:window.hacked=5>

![a picture](https://remote.example/picture.png) and ![worse](javascript:window.hacked=6)

![svg](data:image/svg+xml,x)

<iframe src="https://remote.example/frame"></iframe><svg onload="window.hacked = 7"></svg>

<style>body { display: none }</style>

<form action="https://remote.example/"><input name="key"><button>Send</button></form>

[data](data:text/html,<script>window.hacked=8</script>) [entity](&#106;avascript:window.hacked=9) [ok](https://remote.example/page)

| <img src=x onerror=window.hacked=10> | x |
|---|---|
| <b onclick="window.hacked = 11" id="question">b</b> | y |

```html" onmouseover="window.hacked=12
<script>window.hacked = 13</script>
```"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fake_server(env={"FAKE_PACE_S": "0.002"}) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[Chat]:
    async with opened(browser, server.url) as chat:
        yield chat


async def said(chat: Chat, text: str) -> None:
    """Have the model say `text`, to the end."""
    await chat.ask(f"Say: {text}")
    await chat.finished()
    assert (await chat.answer())["text"].strip() == text.strip()


def conversation(turns: int) -> dict[str, Any]:
    """A file of one conversation, such as the page itself saves."""
    messages: list[dict[str, Any]] = []
    for number in range(turns):
        role = "assistant" if number % 2 else "user"
        parent = f"m{number - 1}" if number else None
        text = f"Question {number}" if role == "user" else f"Answer {number}\n\n{MARKDOWN}"
        message = {"id": f"m{number}", "conversation": "c", "parent": parent, "role": role, "text": text}
        messages.append(message | {"created": 1_700_000_000_000 + number})
    about = {"id": "c", "title": "A long one", "isNamed": True, "created": 1, "updated": 1, "leaf": messages[-1]["id"]}
    return {"format": "twowire-chats", "version": 1, "conversations": [about], "messages": messages}


async def bring_in(chat: Chat, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    file = {"name": "chats.json", "mimeType": "application/json", "buffer": text.encode()}
    await chat.page.set_input_files("#import-file", files=[file])  # type: ignore[arg-type]  # a FilePayload


# -- Markdown ----------------------------------------------------------------------------------------------------------


async def test_markdown_is_shown_as_what_it_means(chat: Chat) -> None:
    await said(chat, MARKDOWN)
    body = chat.page.locator(f"{LAST_ANSWER} .body")
    assert await body.locator("strong").inner_text() == "strong"
    assert await body.locator("li").all_inner_texts() == ["one", "two with code"]
    assert await body.locator("td").all_inner_texts() == ["HTTP", "events"]
    assert (await body.locator("pre").inner_text()).strip() == "for n in range(3):\n    print(n)"
    await body.locator("pre .hljs-keyword").first.wait_for()
    assert await body.locator(".math").all_inner_texts() == ["$a_1 + b_1$", "\\(c_2 * d_2\\)"]


async def test_code_that_is_still_written_is_shown_as_it_stands(chat: Chat) -> None:
    """With its language, and without a line break of its own, wherever it was cut when it was first shown."""
    shown: list[tuple[str, str]] = await chat.page.evaluate(
        """async (text) => {
          const { RichText, prepareRichText } = await import("/static/chat/text/rich-text.js");
          await prepareRichText();
          const shown = [];
          for (let cut = 1; cut < text.length; cut += 1) {
            const root = document.createElement("div");
            const rich = new RichText(root);
            rich.show(text.slice(0, cut), false);
            rich.show(text, false);
            const name = root.querySelector("figcaption span")?.textContent;
            shown.push([name, root.querySelector("code")?.textContent]);
          }
          return shown;
        }""",
        f"```python\n{CODE}",
    )
    assert {(name, text.removesuffix("\n")) for name, text in shown} == {("python", CODE)}


async def test_only_models_that_chat_are_offered(browser: Browser, server: Server) -> None:
    models = [{"id": "talks", "type": "chat"}, {"id": "counts", "type": "embeddings"}, {"id": "older"}]
    async with context(browser) as made:
        await made.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": models}))
        chat = Chat(await made.new_page(), server.url)
        await chat.open()
        options = chat.page.locator("#model option")
        await expect(options).to_have_count(2)
        assert await options.all_text_contents() == ["talks", "older"]


async def test_a_text_can_be_copied_as_it_was_said_and_code_by_itself(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as chat:
        await said(chat, MARKDOWN)
        await chat.tool("Copy")
        await chat.page.locator(LAST_ANSWER).get_by_role("button", name="Copied").wait_for()
        assert (await chat.page.evaluate("navigator.clipboard.readText()")).strip() == MARKDOWN.strip()
        await chat.page.locator("figure .copy").click()
        await chat.page.locator("figure .copy", has_text="Copied").wait_for()
        code = await chat.page.evaluate("navigator.clipboard.readText()")
        assert code.strip() == "for n in range(3):\n    print(n)"


async def test_an_attack_in_markdown_does_nothing(browser: Browser, server: Server) -> None:
    async with context(browser) as made:
        asked: list[str] = []
        await made.route("https://remote.example/**", lambda route: route.fulfill(body="hello"))
        chat = Chat(await made.new_page(), server.url)
        chat.page.on("request", lambda request: asked.append(request.url))
        await chat.open()
        await said(chat, ATTACK)
        body = chat.page.locator(f"{LAST_ANSWER} .body")
        for word in ("script", "iframe", "svg:not(.icon)", "style", "form", "input", "[id]", "[onerror]", "[onclick]"):
            assert await body.locator(word).count() == 0, word
        assert await body.locator("[onmouseover], [onload], [style]").count() == 0
        assert await body.locator("img").count() == 0, "none is loaded, wherever it is"
        # What was markup is to be seen as text.
        assert "<script>window.hacked = 1</script>" in await body.inner_text()
        links = await body.locator("a[href]").evaluate_all("links => links.map((link) => [link.href, link.rel])")
        assert {address for address, _ in links} == {
            "https://remote.example/picture.png",
            "https://remote.example/page",
        }
        assert all(rel.startswith("noopener noreferrer") for _, rel in links)
        # A link to elsewhere opens a page, and that is tried below.
        for element in await body.locator("a:not([href]), span, code, td").all():
            await element.dispatch_event("click")
        assert await chat.page.evaluate("window.hacked") is None
        assert all(url.startswith((chat.url, "ws://")) for url in asked), asked
        # The reader's own click opens it, elsewhere.
        async with made.expect_page() as opening:
            await body.locator(".remote-image").first.click()
        other = await opening.value
        assert other.url == "https://remote.example/picture.png"
        assert await other.evaluate("window.opener") is None
        assert chat.problems == []


async def test_without_the_libraries_text_is_shown_plainly(browser: Browser, server: Server) -> None:
    async with context(browser) as made:
        await made.route("**/static/vendor/**", lambda route: route.abort())
        chat = Chat(await made.new_page(), server.url)
        await chat.open()
        await said(chat, ATTACK)
        assert (await chat.page.locator(f"{LAST_ANSWER} .body").text_content() or "").strip() == ATTACK.strip()
        assert await chat.page.evaluate("window.hacked") is None
        assert len(chat.problems) == 1
        assert chat.problems[0].startswith("Answers are shown as plain text:")


async def test_what_is_complete_is_not_made_again(chat: Chat) -> None:
    page = chat.page
    await page.evaluate(
        """() => {
          window.removed = [];
          new MutationObserver((records) => {
            for (const { removedNodes, target } of records) {
              if (target.classList?.contains("body")) window.removed.push(...removedNodes);
            }
          }).observe(document.querySelector("#thread"), { childList: true, subtree: true });
        }"""
    )
    blocks = [f"Block {number} has some words in it." for number in range(30)]
    await said(chat, "\n\n".join(blocks))
    texts: list[str] = await page.evaluate("window.removed.map((node) => node.textContent.trim()).filter(Boolean)")
    assert texts, "the last block is made anew as it grows"
    # A block that was complete was replaced at most once: when the next one began.
    for block in blocks:
        assert texts.count(block) <= 1, block
    assert await page.locator(f"{LAST_ANSWER} .body > p").all_inner_texts() == blocks


# -- a long conversation -----------------------------------------------------------------------------------------------


async def frames(page: Page, action: str) -> dict[str, float]:
    """The milliseconds between frames while `action`, a script, comes about."""
    measured: dict[str, float] = await page.evaluate(
        """async (action) => {
          const gaps = [];
          let last = performance.now(), isOver = false;
          const tick = (now) => { gaps.push(now - last); last = now; if (!isOver) requestAnimationFrame(tick); };
          requestAnimationFrame(tick);
          await new (Object.getPrototypeOf(async () => {}).constructor)(action)();
          isOver = true;
          gaps.sort((a, b) => a - b);
          const at = (share) => Math.round(gaps[Math.floor((gaps.length - 1) * share)] * 10) / 10;
          return { frames: gaps.length, median: at(0.5), p95: at(0.95), max: at(1) };
        }""",
        action,
    )
    return measured


async def test_four_hundred_messages_are_as_few_to_the_page(browser: Browser, server: Server) -> None:
    # Without the policy, which would keep this test's own script from being made of text.
    async with opened(browser, server.url, bypass_csp=True) as chat:
        page = chat.page
        await bring_in(chat, conversation(400))
        await page.get_by_role("link", name="A long one").click()
        await page.wait_for_function("() => document.querySelectorAll('article').length === 400")
        # Markdown is made of what is near; the rest waits until it comes near.
        made = await page.locator("article.assistant .body:has(> p)").count()
        assert 2 <= made < 60
        scrolling = await frames(
            page,
            """const box = document.querySelector("#scroller");
               for (let top = box.scrollHeight; top > 0; top -= 900) {
                 box.scrollTop = top;
                 await new Promise(requestAnimationFrame);
               }
               for (let frame = 0; frame < 20; frame += 1) await new Promise(requestAnimationFrame);""",
        )
        assert await page.locator("article.assistant .body:has(> p)").count() == 200, "all of them have come near"
        # While an answer is streamed, nothing else is touched.
        await page.evaluate(
            """() => {
              window.touched = 0;
              const isOther = (node) => node.closest?.("article") && !node.closest("article:last-of-type");
              new MutationObserver((records) => {
                for (const { target } of records) if (isOther(target)) window.touched += 1;
              }).observe(document.querySelector("#thread"), { childList: true, subtree: true, attributes: true });
            }"""
        )
        await chat.ask("Count from 1 to 2000")
        streaming = await frames(
            page,
            """while (document.querySelector("article:last-of-type.open")) await new Promise(requestAnimationFrame);""",
        )
        assert await chat.numbers() == list(range(1, 2001))
        assert await page.evaluate("window.touched") <= 4, "but for the question, which is drawn once"
        print(f"400 messages, scrolled through: {scrolling}; while an answer of 2000 tokens comes: {streaming} (ms)")


async def test_the_end_stays_in_sight_until_the_reader_leaves_it(chat: Chat) -> None:
    page = chat.page
    at_end = """() => {
      const box = document.querySelector("#scroller");
      return box.scrollHeight - box.scrollTop - box.clientHeight < 5;
    }"""
    await chat.ask("Count from 1 to 20000")
    await page.wait_for_function("() => document.querySelector('#scroller').scrollTop > 200")
    assert await page.evaluate(at_end)
    await page.locator("#scroller").hover()
    await page.mouse.wheel(0, -400)
    await page.locator("#to-end").wait_for()
    top = await page.evaluate("document.querySelector('#scroller').scrollTop")
    length = len(await chat.shown())
    await page.wait_for_function(
        f"() => document.querySelector('{LAST_ANSWER} .body').innerText.length > {length + 400}"
    )
    assert abs(await page.evaluate("document.querySelector('#scroller').scrollTop") - top) < 400
    assert not await page.evaluate(at_end)
    await page.get_by_role("button", name="To the end").click()
    await page.wait_for_function(at_end)
    await page.locator("#to-end").wait_for(state="hidden")
    await page.keyboard.press("Escape")
    await chat.finished()


# -- the list ----------------------------------------------------------------------------------------------------------


async def test_conversations_are_found_renamed_deleted_and_brought_back(chat: Chat) -> None:
    page = chat.page
    for text in ("Say: a needle in it", "Say: only hay"):
        await page.get_by_role("button", name="New chat").first.click()
        await chat.ask(text)
        await chat.finished()
    links = page.locator("#conversations a")
    await expect(links).to_have_text(["Say: only hay", "Say: a needle in it"])
    await page.fill("#search", "NEEDLE")
    await expect(links).to_have_count(1)
    await links.hover()
    await page.get_by_role("button", name="Rename: Say: a needle in it").click()
    await page.locator("#conversations input").fill("Sewing")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Sewing").wait_for()
    await page.get_by_role("button", name="Delete: Sewing").click()
    await page.get_by_text("Nothing found.").wait_for()
    assert len(await chat.stored()) == 2
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("link", name="Sewing").click()
    await expect(page.locator(f"{LAST_ANSWER} .body")).to_have_text("a needle in it")


async def test_what_is_saved_to_a_file_can_be_brought_in_elsewhere(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url) as here, opened(browser, server.url) as there:
        await said(here, MARKDOWN)
        await here.tool("Answer again")
        await here.page.get_by_text("2 / 2").wait_for()
        await here.finished()
        await here.page.get_by_role("button", name="Settings").click()
        async with here.page.expect_download() as saving:
            await here.page.get_by_role("button", name="Save all chats to a file").click()
        file = await (await saving.value).path()
        text = await asyncio.to_thread(Path(file).read_text, "utf-8")
        assert all(
            message["answer"]["cursor"] is None for message in json.loads(text)["messages"] if "answer" in message
        )
        await bring_in(there, text)
        await there.page.get_by_text("1 chats were brought in.").wait_for()
        await bring_in(there, text)
        await there.page.wait_for_function("() => document.querySelectorAll('#conversations a').length === 2")
        kept = await there.stored()
        assert len(kept) == 6, "nothing is overwritten"
        assert {message["text"] for message in kept} == {message["text"] for message in await here.stored()}
        for broken in (
            "{",
            "[]",
            '{"format": "twowire-chats", "version": 1}',
            json.dumps(conversation(3)).replace('"m0"', "7"),
        ):
            await bring_in(there, broken)
            await there.page.get_by_text("This is no file of chats").wait_for()
            await there.page.evaluate("document.querySelector('#toasts').replaceChildren()")
        assert await there.stored() == kept


# -- languages, scripts, colours, and who cannot see or has little time ------------------------------------------------


async def test_the_page_speaks_the_browsers_language_or_the_readers(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url, locale="ko-KR") as chat:
        page = chat.page
        assert await page.get_attribute("html", "lang") == "ko"
        await page.get_by_role("button", name="설정").click()
        await page.locator("[name=language]").select_option("en")
        await page.wait_for_function("() => document.documentElement.lang === 'en'")
        await page.get_by_role("heading", name="Settings").wait_for()
        await page.reload()
        await page.get_by_role("button", name="New chat").first.wait_for()


async def test_text_from_right_to_left_runs_from_right_to_left(chat: Chat) -> None:
    text = "مرحبا بالعالم\n\n- واحد\n- two\n\nEnglish again."
    await said(chat, text)
    directions = await chat.page.locator(f"{LAST_ANSWER} .body > *").evaluate_all(
        "blocks => blocks.map((block) => getComputedStyle(block).direction)"
    )
    assert directions == ["rtl", "rtl", "ltr"]
    wide = await chat.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    await chat.page.evaluate("document.documentElement.dir = 'rtl'")
    side = await chat.page.locator("#sidebar").bounding_box()
    assert side is not None
    assert side["x"] > 600, "the whole page can be mirrored"


async def test_the_colours_are_the_systems_or_the_readers(browser: Browser, server: Server) -> None:
    colour = "getComputedStyle(document.querySelector('#stage')).backgroundColor"
    async with opened(browser, server.url, color_scheme="dark") as chat:
        page = chat.page
        dark = await page.evaluate(colour)
        await page.emulate_media(color_scheme="light")
        light = await page.evaluate(colour)
        assert dark != light
        await page.get_by_role("button", name="Settings").click()
        await page.locator("[name=theme]").select_option("dark")
        assert await page.evaluate(colour) == dark
        await page.reload()
        assert await page.evaluate(colour) == dark
        # By a script that comes before the first paint, not by the page's own, which come after it.
        assert (await page.evaluate("document.querySelector('script').src")).endswith("/theme.js")


async def test_a_screen_reader_is_told_what_is_said_in_whole_sentences(chat: Chat) -> None:
    page = chat.page
    await page.evaluate(
        """() => {
          window.heard = [];
          new MutationObserver((records) => {
            for (const { addedNodes } of records) for (const node of addedNodes) window.heard.push(node.textContent);
          }).observe(document.querySelector("#announcements"), { childList: true });
        }"""
    )
    assert await page.get_attribute("#announcements", "aria-live") == "polite"
    await said(chat, "This is **one** sentence. " * 40)
    heard: list[str] = await page.evaluate("window.heard")
    assert heard[0] == "Answering"
    assert heard[-1].endswith("The answer is complete.")
    assert " ".join(heard).count("This is one sentence.") == 40
    assert len(heard) < 20, "not with every word"


async def test_the_first_load_is_small(browser: Browser, server: Server) -> None:
    async with context(browser) as made:
        chat = Chat(await made.new_page(), server.url)
        session = await made.new_cdp_session(chat.page)
        sizes: list[int] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
        await session.send("Network.enable")
        await chat.open()
        await said(chat, "Hello **there**")
        print(f"the first load: {len(sizes)} files, {sum(sizes)} bytes")
        assert 20 < len(sizes) < 80
        assert sum(sizes) < FIRST_LOAD_BYTES
        assert chat.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 380])
async def test_axe_finds_nothing_serious(browser: Browser, server: Server, axe: str, scheme: str, width: int) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    async with opened(browser, server.url, **options) as chat:
        page = chat.page

        async def look(where: str) -> None:
            await page.evaluate(axe)
            # Colours that are on their way to others are not judged.
            await page.wait_for_function(
                "document.getAnimations().every((one) => one.effect.getTiming().iterations > 1)"
            )
            found = await page.evaluate("axe.run().then(({ violations }) => violations)")
            serious = [
                f"{rule['id']}: {rule['help']}\n  " + "\n  ".join(node["html"][:200] for node in rule["nodes"][:5])
                for rule in found
                if rule["impact"] in ("serious", "critical")
            ]
            assert not serious, where + "\n" + "\n".join(serious)

        await look("before the first question")
        await said(chat, MARKDOWN + "\n\n![picture](https://remote.example/x.png)")
        await chat.tool("Answer again")
        await page.get_by_text("2 / 2").wait_for()
        await chat.finished()
        await page.locator("pre .hljs-keyword").first.wait_for()
        await look("a conversation")
        await chat.tool("Edit", "article.user")
        await look("editing")
        await page.keyboard.press("Escape")
        if width < 800:
            await page.get_by_role("button", name="Show or hide the chats").first.click()
            await look("the list over the conversation")
        await page.get_by_role("button", name="Settings").click()
        await look("settings")
