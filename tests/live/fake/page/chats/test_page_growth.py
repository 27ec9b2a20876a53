"""An answer that grows: it is shown as if it had come at once, and what a token costs does not grow with it."""

from __future__ import annotations

import pytest

from tests.live.browser.pages import Chat
from tests.live.fake.page.texts import MARKDOWN

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = "\n".join(
    f"| row {number} | {number} | `code` and a [link](https://example.org/{number}) |" for number in range(9)
)
TABLE = f"| Name | Value | Words |\n|---|--:|:-:|\n{ROWS}"
CODE = "\n".join(f"value_{number} = [{number}]  # a *step*, not a list\n" for number in range(9))
TIGHT = "\n".join(f"{number}. Point **{number}**\n   and its second line" for number in range(3, 12))
LOOSE = "\n\n".join(f"- Point {number}\n\n  - [x] done\n  - nested `{number}`" for number in range(5))
TURNS_LOOSE = (
    "- one\n- two\n- three\n\n- four\n- five\n\n  A paragraph in it.\n\n* another list\n* - - -\n\n+ [ ] a task\n+ x"
)
TEXTS = {
    "table": f"{TABLE}\n\nThe end.",
    "table with no line after it": f"Before\n\n{TABLE}\n## Heading\n{TABLE}",
    "code": f"```python\n{CODE}\n\n``\n```\n\nThe end.\n\n~~~~\n{CODE}~~~\n\n~~~~\n```\n\nnever closed\n",
    "code indented": f"  ```js\n  one\n    two\n  ```\n\n    {CODE}\n\nThe end.",
    "tight list": f"{TIGHT}\n\nThe end.",
    "loose list": f"{LOOSE}\n\n{TIGHT}\n\n---\nThe end.",
    "list that turns loose": f"{TURNS_LOOSE}\n\n```\ncode\n```\n- a\n- b\n# c",
    "list with code": f"1. One\n\n   ```python\n   x = 1\n   ```\n\n2. Two\n\n   {ROWS}\n3. Three\nlazy\n> - x\n",
    "words": f"{'Only words, and more. ' * 9}www.example.org and {'so on: ' * 9}https://example.org/a\n---\n1. 1.",
    "mixed": "\n\n".join([MARKDOWN] * 3),
}

LONG = {
    "code": "```python\n" + "".join(f"value_{number} = compute({number})\n" for number in range(2000)),
    "table": "| Name | Value |\n|---|--:|\n" + "".join(f"| row {number} | `{number}` |\n" for number in range(200)),
    "tight list": "".join(f"- Point **{number}** of many\n" for number in range(200)),
    "loose list": "".join(f"{number + 1}. Point **{number}** of many\n\n" for number in range(200)),
    "one paragraph": "Only words, and more. " * 2000,
    "paragraphs": "".join(f"Paragraph {number} with *some* words.\n\n" for number in range(400)),
}
STEPS = 80

GROW = """async ([text, cuts]) => {
  const { RichText, prepareRichText } = await import("/static/chat/text/rich-text.js");
  await prepareRichText();
  const shown = (parts) => {
    const root = document.createElement("div");
    const rich = new RichText(root);
    for (const part of parts) rich.show(part, false);
    rich.show(text, true);
    for (const part of root.querySelectorAll(".part")) part.replaceWith(...part.childNodes);
    // Between elements, white space is not shown.
    return root.outerHTML.replace(/>\\s+</g, "><");
  };
  return [shown([]), ...cuts.map((cut) => shown(cut.map((at) => text.slice(0, at))))];
}"""

CONTINUE = """async ([text, cut]) => {
  const { RichText, prepareRichText } = await import("/static/chat/text/rich-text.js");
  await prepareRichText();
  const shown = (...ends) => {
    const root = document.createElement("div");
    const rich = new RichText(root);
    for (const [end, isComplete] of ends) rich.show(text.slice(0, end), isComplete);
    return root.outerHTML;
  };
  return [shown([text.length, true]), shown([cut, true], [cut + 2, false], [text.length, true])];
}"""

# The nodes that each step adds, how many there are in the end, and how many blocks the largest part has.
WORK = """async ([text, steps]) => {
  const { RichText, prepareRichText } = await import("/static/chat/text/rich-text.js");
  await prepareRichText();
  const size = (node) => 1 + [...node.childNodes].reduce((sum, child) => sum + size(child), 0);
  const root = document.createElement("div");
  const rich = new RichText(root);
  const observer = new MutationObserver(() => {});
  observer.observe(root, { childList: true, subtree: true });
  const added = [];
  for (let step = 1; step <= steps; step += 1) {
    rich.show(text.slice(0, Math.round((text.length * step) / steps)), false);
    const nodes = observer.takeRecords().flatMap(({ addedNodes }) => [...addedNodes]);
    added.push(nodes.reduce((sum, node) => sum + size(node), 0));
  }
  const most = Math.max(...[root, ...root.querySelectorAll(".part")].map((one) => one.childElementCount));
  return [added, size(root), most];
}"""


async def test_a_grown_text_is_shown_as_one_that_came_at_once(chat: Chat) -> None:
    for kind, text in TEXTS.items():
        ways = [(0, 7), (3, 19), (5, 64)] + ([(1, 1)] if "list" in kind else [])
        cuts = [list(range(first, len(text), step)) for first, step in ways]
        whole, *grown = await chat.page.evaluate(GROW, [text, cuts])
        for way, one in zip(ways, grown, strict=True):
            assert one == whole, f"{kind}, first {way[0]} characters, then {way[1]} at a time"


async def test_an_answer_that_was_complete_and_is_continued_is_shown_as_one_text(chat: Chat) -> None:
    # Cut within a word, and within code.
    for text, cut in (("A word, and more of it.\n", 4), ("```python\nprint(1)\nprint(2)\n```\n", 15)):
        whole, continued = await chat.page.evaluate(CONTINUE, [text, cut])
        assert continued == whole


async def test_what_a_token_costs_does_not_grow_with_the_text(chat: Chat) -> None:
    for kind, text in LONG.items():
        added, nodes, most = await chat.page.evaluate(WORK, [text, STEPS])
        second, _, last = (sum(added[quarter * STEPS // 4 : (quarter + 1) * STEPS // 4]) for quarter in (1, 2, 3))
        assert last <= 1.5 * second + 10, f"{kind}: {added}"
        assert sum(added) <= 4 * nodes, f"{kind}: each part of it is drawn a few times"
        assert most < 100, f"{kind}: the browser can leave out what is not in view"
