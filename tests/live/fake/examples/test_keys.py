"""The examples for a server with keys: the page with tickets, and the settings for coding agents."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import playwright
import pytest
from playwright.async_api import Browser, expect

from tests.certificates import ROOT
from tests.examples.commands import EXAMPLES, command_lines, command_of
from tests.live.browser.pages import LIMIT_MS
from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import Server

KEY = "a-key-of-yours"
SETTINGS_MODEL = "local"
CALL = '<tool_call>\n{"name": "shell", "arguments": {"command": "ls"}}\n</tool_call>'
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    # The model's names: the page's, and that of the settings, which the README gives it, too.
    return ("--cors-origins", "*", "--public-metrics", "--served-model-name", "guide", SETTINGS_MODEL)


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    return {"FAKE_PACE_S": "0.001", "TWOWIRE_API_KEYS": KEY}


@pytest.fixture
def server(fake: Server) -> Iterator[Server]:
    yield fake
    fake.wait_idle(30)
    assert not any("Traceback" in line for line in fake.log), "".join(fake.log[-60:])


def node() -> str:
    """A Node that runs TypeScript as it is: the system's, if it is new enough, or the one in Playwright."""
    bundled = Path(playwright.__file__).parent / "driver" / "node"
    for program in (shutil.which("node"), str(bundled)):
        if program is not None:
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
            major, minor = version.strip().removeprefix("v").split(".")[:2]
            if (int(major), int(minor)) >= (22, 18):
                return program
    pytest.fail("Playwright's Node is older than 22.18")


@contextmanager
def page_server(server: Server) -> Iterator[str]:
    """The address of tickets/server.ts, started as the README says."""
    setting, program, *words = command_of("tickets/server.ts")
    assert (setting, program) == (f"LLM_API_KEY={KEY}", "node")
    env = os.environ | {"LLM_API_KEY": KEY, "LLM_URL": server.url, "PORT": "0"}
    process = subprocess.Popen([node(), *words], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_page_without_a_key_asks_with_a_ticket(server: Server, browser: Browser) -> None:
    problems: list[str] = []
    with page_server(server) as url:
        page = await browser.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(url)
        await page.fill("input", "Count from 1 to 30")
        await page.click("text=Ask")
        await expect(page.locator("#answer")).to_contain_text("29 30", timeout=LIMIT_MS)
        await page.close()
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            ticket = await client.post("/api/ticket", headers={"Origin": url})
            assert ticket.json()["subprotocol"].startswith("twowire.ticket.")
            shown = await client.get("/")
            assert shown.text == (EXAMPLES / "tickets/page.html").read_text("utf-8")
            for answer in (ticket, shown, await client.get("/settings")):
                assert answer.status_code == 200
                assert KEY not in answer.text
            # What tickets/route.ts refuses: only pages send an origin.
            assert (await client.post("/api/ticket")).status_code == 403
            assert (await client.get("/channel/%2e%2e/dom.js")).status_code == 404
    assert not problems


REFUSED = """
import { createServer } from "node:http";
import { POST } from "./examples/tickets/route.ts";

const refusing = createServer((_, answer) => {
  answer.writeHead(429, { "Content-Type": "application/json", "Retry-After": "7" });
  answer.end('{"error": {"message": "Too many requests."}}');
}).listen(0, "127.0.0.1", async () => {
  process.env.LLM_URL = `http://127.0.0.1:${refusing.address().port}`;
  const asked = new Request("http://127.0.0.1/api/ticket", { method: "POST", headers: { Origin: "http://127.0.0.1" } });
  const answer = await POST(asked);
  const headers = Object.fromEntries(answer.headers);
  console.log(JSON.stringify({ status: answer.status, headers, body: await answer.json() }));
  refusing.close();
  refusing.closeAllConnections();
});
"""


def test_the_route_passes_a_refusal_on_with_its_wait() -> None:
    command = [node(), "--input-type=module", "--eval", REFUSED]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    answer = json.loads(printed)
    assert (answer["status"], answer["body"]) == (429, {"error": {"message": "Too many requests."}})
    assert (answer["headers"]["retry-after"], answer["headers"]["cache-control"]) == ("7", "no-store")


def test_the_route_can_be_copied_by_itself() -> None:
    route = EXAMPLES / "tickets/route.ts"
    assert "import " not in route.read_text("utf-8")
    assert "export async function POST(request: Request): Promise<Response>" in route.read_text("utf-8")


def test_the_readme_serves_what_the_settings_name() -> None:
    (serve,) = [words for words in command_lines() if ".venv/bin/twowire" in words]
    assert serve[0] == f"TWOWIRE_API_KEYS={KEY}"
    assert serve[serve.index("--served-model-name") + 1] == SETTINGS_MODEL


def test_codex_is_answered_with_these_settings(server: Server) -> None:
    config = tomllib.loads((EXAMPLES / "coding_agents/codex.toml").read_text("utf-8"))
    provider = config["model_providers"][config["model_provider"]]
    assert (provider["wire_api"], config["web_search"]) == ("responses", "disabled")
    assert [f"{provider['env_key']}={KEY}", "CODEX_HOME=~/.codex-twowire", "codex"] in command_lines()
    url = provider["base_url"].replace("http://127.0.0.1:8000", server.url)
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": f"List. {Dialogue(CALL)}"}]}
    body = {
        "model": config["model"],
        "instructions": "You are Codex.",
        "input": [user],
        "tools": [
            {"type": "function", "name": "shell", "strict": False, "parameters": SCHEMA},
            {
                "type": "custom",
                "name": "apply_patch",
                "description": "Edits files.",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"},
            },
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "thread",
        "client_metadata": {"x-codex-turn-metadata": "{}"},
    }
    answer = httpx.post(f"{url}/responses", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    completed = next(event for event in events_of(answer.text) if event["type"] == "response.completed")
    (call,) = [item for item in completed["response"]["output"] if item["type"] == "function_call"]
    assert (call["name"], json.loads(call["arguments"])) == ("shell", {"command": "ls"})


def test_claude_code_is_answered_with_these_settings(server: Server) -> None:
    settings = json.loads((EXAMPLES / "coding_agents/claude_code.json").read_text("utf-8"))["env"]
    assert not [value for value in settings.values() if not isinstance(value, str)], "variables are texts"
    url = settings["ANTHROPIC_BASE_URL"].replace("http://127.0.0.1:8000", server.url)
    headers = {"Authorization": f"Bearer {settings['ANTHROPIC_AUTH_TOKEN']}", "anthropic-version": "2023-06-01"}
    models = {value for name, value in settings.items() if name.endswith("_MODEL")}
    assert models == {SETTINGS_MODEL}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        for model in models:
            body: dict[str, Any] = {
                "model": model,
                "system": [{"type": "text", "text": f"You are Claude Code. {Dialogue('I look. ' + CALL)}"}],
                "messages": [{"role": "user", "content": [{"type": "text", "text": "List the files."}]}],
                "tools": [{"name": "shell", "description": "Runs a command.", "input_schema": SCHEMA}],
            }
            counted = client.post("/v1/messages/count_tokens?beta=true", json=body)
            assert counted.json()["input_tokens"] > 0, counted.text
            answer = client.post("/v1/messages?beta=true", json=body | {"max_tokens": 32000, "stream": True})
            assert answer.status_code == 200, answer.text
            *_, delta, stop = events_of(answer.text)
            assert delta["delta"]["stop_reason"] == "tool_use"
            assert stop == {"type": "message_stop"}


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
