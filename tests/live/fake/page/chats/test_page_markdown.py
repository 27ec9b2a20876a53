"""What the chat page shows of an answer's Markdown, and of attacks in it."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from requirements.docs_site import MERMAID
from tests.certificates import ROOT
from tests.live.browser.pages import LAST_ANSWER, Chat, context, opened
from tests.live.fake.page.texts import MARKDOWN, said
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

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


async def test_markdown_is_shown_as_what_it_means(chat: Chat) -> None:
    await said(chat, MARKDOWN)
    body = chat.page.locator(f"{LAST_ANSWER} .body")
    assert await body.locator("strong").inner_text() == "strong"
    assert await body.locator("li").all_inner_texts() == ["one", "two with code"]
    assert await body.locator("td").all_inner_texts() == ["HTTP", "events"]
    assert (await body.locator("pre").inner_text()).strip() == "for n in range(3):\n    print(n)"
    await body.locator("pre .hljs-keyword").first.wait_for()
    await expect(body.locator(".math.typeset")).to_have_count(2)
    assert await body.locator(".math annotation").all_text_contents() == ["a_1 + b_1", "c_2 * d_2"]


async def test_formulas_are_typeset_by_a_library_that_comes_with_the_first(chat: Chat) -> None:
    page = chat.page
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    await said(chat, "No formula: $5 and $6")
    assert not [url for url in loaded if "katex" in url]
    formulas = ["x^2", "\\unknown{x}", "\\href{javascript:alert(1)}{x}"]
    block = r"$$\sum_{i=1}^n \sqrt{\frac{x_i}{2}} = \begin{pmatrix} a & b \\ c & d \end{pmatrix}$$"
    await said(chat, f"{block}\n\n" + " and ".join(f"${formula}$" for formula in formulas))
    body = page.locator(f"{LAST_ANSWER} .body")
    await expect(body.locator("p.math .katex-display")).to_have_count(1)
    await expect(body.locator("span.math.typeset")).to_have_count(2)
    # Unknown markup stays as written, and nothing becomes a link.
    await expect(body.locator("span.math:not(.typeset)")).to_have_text("$\\unknown{x}$")
    assert await body.locator("a").count() == 0
    assert any(url.endswith(".woff2") for url in loaded)


async def test_a_mermaid_diagram_is_drawn_on_a_click_in_a_frame_of_its_own(chat: Chat) -> None:
    page = chat.page
    await said(chat, "```mermaid\ngraph LR\n  A[One] -->|wire| B[Two]\n```\n\n```mermaid\ngraph LR\n  A ->\n```")
    good, broken = await page.locator("figure.code").all()
    await good.get_by_role("button", name="Diagram").click()
    await page.frame_locator("iframe").get_by_text("Two").wait_for()
    await expect(good.locator("pre")).to_be_hidden()
    frame = page.frames[-1]
    assert await frame.evaluate("[origin, document.querySelectorAll('script[src]').length]") == ["null", 2]
    height = await good.locator("iframe").bounding_box()
    assert height is not None
    assert height["height"] >= await frame.evaluate("document.querySelector('svg').clientHeight")
    await good.get_by_role("button", name="Code").click()
    await expect(good.locator("pre")).to_be_visible()
    await expect(page.locator("iframe")).to_have_count(0)
    await broken.get_by_role("button", name="Diagram").click()
    await broken.get_by_text("This diagram cannot be drawn: ").wait_for()
    await expect(broken.locator("pre")).to_be_visible()


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
        await made.route("**/vendor/**", lambda route: route.abort())
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
              if (target.matches?.(".body, .part")) window.removed.push(...removedNodes);
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
    assert await page.locator(f"{LAST_ANSWER} .body p").all_text_contents() == blocks


async def test_the_diagrams_of_the_documents_have_no_errors(browser: Browser) -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    fences = [re.findall(r"^```mermaid\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S) for path in documents]
    diagrams = [text for found in fences for text in found]
    assert len(diagrams) > 3
    page = await browser.new_page()
    await page.add_script_tag(path=MERMAID)
    parse = "(text) => mermaid.parse(text).then(() => null, (error) => `${text}${error}`)"
    assert [await page.evaluate(parse, text) for text in diagrams] == [None] * len(diagrams)
    await page.close()
