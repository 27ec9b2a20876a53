"""Settings on the chat page: a chat's own, their bounds, presets, tools, the schema of answers, the thinking switch."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.live.browser.pages import LAST_ANSWER, Chat, context
from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def asked(chat: Chat) -> dict[str, Any]:
    """Ask, and return what the engine was asked."""
    await chat.ask(f"Hello {Dialogue(*[THE_REQUEST] * 4)}")
    await chat.finished()
    request: dict[str, Any] = json.loads((await chat.answer())["text"])
    return request


def field(page: Page, name: str) -> Locator:
    return page.locator(f"#settings-form [name={name}]")


async def settings(page: Page) -> None:
    await page.get_by_role("button", name="Settings", exact=True).click()
    if not await field(page, "top_k").is_visible():
        await page.get_by_text("More", exact=True).click()


async def test_a_chat_has_settings_of_its_own_and_shows_them(chat: Chat) -> None:
    page = chat.page
    await expect(page.locator("#chips")).to_be_hidden()
    await asked(chat)
    await settings(page)
    await field(page, "system").fill("Talk like a pirate.")
    await field(page, "top_k").fill("5")
    await page.keyboard.press("Escape")
    chip = page.get_by_role("button", name="Settings: System prompt · Top K 5")
    await chip.wait_for()
    request = await asked(chat)
    assert request["messages"][0] == {"role": "system", "content": "Talk like a pirate."}
    assert request["sampling"]["top_k"] == 5
    # Another chat has none of it.
    await page.get_by_role("button", name="New chat").first.click()
    await expect(page.locator("#chips")).to_be_hidden()
    request = await asked(chat)
    assert request["messages"][0]["role"] == "user"
    # The first one keeps its own, even after a reload.
    await page.go_back()
    await page.go_back()
    await page.reload()
    await chip.click()
    await expect(field(page, "system")).to_have_value("Talk like a pirate.")
    await page.get_by_role("button", name="Use for new chats").click()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="New chat").first.click()
    await chip.wait_for()


async def test_a_value_out_of_bounds_is_refused_in_words(chat: Chat) -> None:
    page = chat.page
    await settings(page)
    await field(page, "temperature").fill("0.5")
    await field(page, "temperature").fill("3")
    await expect(page.locator("#problem-temperature")).to_have_text("Enter a number from 0 to 2.")
    await field(page, "seed").fill("1.5")
    await expect(page.locator("#problem-seed")).to_have_text("Enter a whole number.")
    await page.keyboard.press("Escape")
    await page.get_by_text("Not applied, because not valid: Temperature, Seed").wait_for()
    sampling = (await asked(chat))["sampling"]
    assert sampling["temperature"] == 0.5, "the last valid one"
    assert "seed" not in sampling


async def test_tools_that_the_server_would_refuse_are_refused_in_words(chat: Chat) -> None:
    await settings(chat.page)
    for text, problem in (
        ("[{", "This is not valid JSON: "),
        ("{}", "Enter a JSON list: [ … ]."),
        ('[{"function": {}}]', 'Tool 1: "type" must be "function" or "custom".'),
        ('[{"name": "no spaces"}]', "Tool 1: its name must have 1 to 64 letters, digits, _ or -."),
        ('[{"name": "f"}, {"name": "f"}]', "Two tools are named f."),
        ('[{"name": "f", "parameters": []}]', 'f: "parameters" must be a JSON schema, an object.'),
    ):
        await field(chat.page, "tools").fill(text)
        await expect(chat.page.locator("#problem-tools")).to_contain_text(problem)


async def test_tools_are_declared_as_json(chat: Chat) -> None:
    page = chat.page
    await settings(page)
    await field(page, "tools").fill('[{"name": "weather", "parameters": {"type": "object"}}]')
    await expect(page.locator("#problem-tools")).to_have_text("")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Settings: Tools: 1").wait_for()
    assert [tool["name"] for tool in (await asked(chat))["tools"]] == ["weather"]


async def test_a_model_that_thinks_has_a_switch(browser: Browser, server: Server) -> None:
    models = [{"id": "guide", "type": "chat", "reasoning_parser": "qwen3"}]
    async with context(browser) as made:
        await made.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": models}))
        chat = Chat(await made.new_page(), server.url)
        await chat.open()
        switch = chat.page.get_by_role("combobox", name="Thinking")
        assert (await asked(chat))["thinks"] is None
        await switch.select_option("on")
        assert (await asked(chat))["thinks"] is True
        await switch.select_option("off")
        await chat.page.reload()
        await expect(switch).to_have_value("off")
        assert (await asked(chat))["thinks"] is False


async def test_settings_are_saved_under_a_name_used_again_and_deleted(chat: Chat) -> None:
    page = chat.page
    await settings(page)
    chosen = field(page, "preset")
    await field(page, "temperature").fill("0.3")
    await page.get_by_role("button", name="Save preset").click()
    await expect(page.locator("#problem-preset")).to_have_text("Enter a name.")
    await field(page, "preset-name").fill("Cold")
    await page.keyboard.press("Enter")
    await expect(chosen).to_have_value("Cold")
    await page.get_by_role("button", name="Reset to model defaults").click()
    await expect(field(page, "temperature")).to_have_value("")
    await expect(chosen).to_have_value("")
    await page.keyboard.press("Escape")
    await page.reload()
    await asked(chat)
    await settings(page)
    await chosen.select_option("Cold")
    await expect(field(page, "temperature")).to_have_value("0.3")
    await page.keyboard.press("Escape")
    assert (await asked(chat))["sampling"]["temperature"] == 0.3
    await settings(page)
    await page.get_by_role("button", name="Delete preset").click()
    await expect(chosen.locator("option")).to_have_text(["None saved"])
    await expect(field(page, "temperature")).to_have_value("0.3")


SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


async def test_an_answer_is_checked_against_the_schema_that_it_was_asked_to_follow(chat: Chat) -> None:
    page = chat.page
    await settings(page)
    for text, problem in (("{", "This is not valid JSON: "), ("[]", "Enter a JSON schema: { … }.")):
        await field(page, "response_format").fill(text)
        await expect(page.locator("#problem-response_format")).to_contain_text(problem)
    await field(page, "response_format").fill(json.dumps(SCHEMA))
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Settings: JSON schema").wait_for()
    dialogue = Dialogue('{"age": 3}', '{"age": "3"}', '{"age"', THE_REQUEST)
    verdict = page.locator(f"{LAST_ANSWER} .verdict")
    for question, said, tone in (
        (f"Hello {dialogue}", "Valid: it follows the schema.", "good"),
        ("Again", "Not valid: at /age: ", "bad"),
        ("And again", "Not valid JSON: ", "bad"),
    ):
        await chat.ask(question)
        await chat.finished()
        await expect(verdict).to_contain_text(said)
        await expect(verdict).to_have_attribute("data-tone", tone)
    # It is shown as it came.
    await expect(page.locator(f"{LAST_ANSWER} pre code")).to_have_text('{"age"')
    await chat.ask("What did I ask?")
    await chat.finished()
    assert json.loads((await chat.answer())["text"])["schema"]["properties"] == SCHEMA["properties"]


async def test_rare_fields_reach_the_engine(chat: Chat) -> None:
    page = chat.page
    await settings(page)
    await field(page, "bad_words").fill("never\nno\\n")
    await field(page, "logit_bias").fill('{"01": 1}')
    await expect(page.locator("#problem-logit_bias")).to_have_text("01 is not a token id.")
    await field(page, "logit_bias").fill('{"7": -100}')
    await field(page, "stop_token_ids").fill("5, x")
    await expect(page.locator("#problem-stop_token_ids")).to_have_text("x is not a token id.")
    await field(page, "stop_token_ids").fill("5, 6")
    await field(page, "skip_special_tokens").select_option("false")
    await field(page, "parallel_tool_calls").select_option("false")
    await field(page, "ignore_eos").select_option("true")
    await field(page, "reasoning_effort").select_option("high")
    await field(page, "thinking_token_budget").fill("9")
    await field(page, "tools").fill('[{"name": "weather"}]')
    await field(page, "tool_choice").fill("none")
    await page.keyboard.press("Escape")
    request = await asked(chat)
    assert request["sampling"]["bad_words"] == ["never", "no\n"]
    assert request["sampling"]["logit_bias"] == {"7": -100}
    assert request["sampling"]["ignore_eos"] is True
    assert request["sampling"]["stop_token_ids"] == [5, 6]
    assert request["sampling"]["skip_special_tokens"] is False
    assert request["choice"]["mode"] == "none"
    assert (request["effort"], request["max_thoughts"]) == ("high", 9)


async def test_a_chat_keeps_its_model(browser: Browser, server: Server) -> None:
    models = [{"id": name, "type": "chat"} for name in ("guide", "other")]
    async with context(browser) as made:
        await made.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": models}))
        chat = Chat(await made.new_page(), server.url)
        page = chat.page
        await chat.open()
        model = page.get_by_role("combobox", name="Model")
        await asked(chat)
        await model.select_option("other")
        await page.get_by_role("button", name="New chat").first.click()
        await expect(model).to_have_value("guide")
        await page.go_back()
        await expect(model).to_have_value("other")
        await page.reload()
        await expect(model).to_have_value("other")
        await page.get_by_role("button", name="New chat").first.click()
        await expect(model).to_have_value("guide")
