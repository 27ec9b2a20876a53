"""System messages where a chat template refuses or drops them: they keep their place as something it takes."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.config import GUIDE
from engine.vllm.formats.find_format import find_format
from engine.vllm.formats.system_messages import SystemPlace, find_system_place, placed
from protocol.generation import ChatPrompt

TURN = "{{ '[' + m.role + ']' + m.content }}"
ANYWHERE = "{% for m in messages %}" + TURN + "{% endfor %}"
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('At the beginning!') }}"
    "{% endif %}" + TURN + "{% endfor %}"
)
SILENT = "{% for m in messages %}{% if m.role != 'system' or loop.first %}" + TURN + "{% endif %}{% endfor %}"
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate.') }}{% endif %}" + TURN + "{% endfor %}"
)
BROKEN = "{{ raise_exception('Not like this.') }}"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(GUIDE)


@pytest.mark.parametrize(
    ("template", "place"),
    [
        (ANYWHERE, "anywhere"),
        (STRICT, "first"),
        (SILENT, "first"),
        (ALTERNATING, "nowhere"),
        (BROKEN, "anywhere"),
    ],
)
def test_the_template_shows_where_it_takes_system_messages(template: str, place: str, tokenizer: Any) -> None:
    assert find_system_place(tokenizer, template) == place


def chat(letters: str) -> list[dict[str, Any]]:
    """A message for each letter: of the system, the user, the assistant, a tool."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[letter], "content": f"{letter}{at}"} for at, letter in enumerate(letters)]


def shown(messages: list[dict[str, Any]]) -> str:
    text = "".join(f"[{message['role']}]{message['content']}" for message in messages)
    return text.replace("<system-reminder>\n", "<").replace("\n</system-reminder>", ">").replace("\n\n", "+")


@pytest.mark.parametrize(
    ("letters", "place", "expected"),
    [
        ("sua", "first", "[system]s0[user]u1[assistant]a2"),
        ("ssu", "first", "[system]s0+s1[user]u2"),
        ("sus", "first", "[system]s0[user]u1+<s2>"),
        ("uasu", "first", "[user]u0[assistant]a1[user]<s2>+u3"),
        ("uassu", "first", "[user]u0[assistant]a1[user]<s2>+<s3>+u4"),
        ("uatsa", "first", "[user]u0[assistant]a1[tool]t2+<s3>[assistant]a4"),
        ("uas", "first", "[user]u0[assistant]a1[user]<s2>"),
        ("uasa", "first", "[user]u0[assistant]a1[user]<s2>[assistant]a3"),
        ("su", "nowhere", "[user]s0+u1"),
        ("s", "nowhere", "[user]s0"),
        ("suasu", "nowhere", "[user]s0+u1[assistant]a2[user]<s3>+u4"),
        ("susas", "anywhere", "[system]s0[user]u1[system]s2[assistant]a3[system]s4"),
    ],
)
def test_system_messages_keep_their_place(letters: str, place: SystemPlace, expected: str) -> None:
    messages = chat(letters)
    before = [dict(message) for message in messages]
    assert shown(placed(messages, place)) == expected
    assert messages == before


def test_what_needs_no_change_is_left_as_it_is() -> None:
    cases: tuple[tuple[str, SystemPlace], ...] = (("sua", "first"), ("ua", "nowhere"), ("sus", "anywhere"))
    for letters, place in cases:
        messages = chat(letters)
        assert placed(messages, place) is messages


def test_a_template_that_refuses_late_system_messages_renders_a_chat_with_one(tokenizer: Any) -> None:
    messages = chat("suas")
    for template in (STRICT, ALTERNATING):
        found = find_format(template, tokenizer, "none", "none", "m").messages(ChatPrompt(messages))
        text = tokenizer.apply_chat_template(found, chat_template=template, tokenize=False)
        assert "s0" in text
        assert "s3" in text


def test_a_turn_that_is_added_leaves_the_messages_before_it_as_they_were() -> None:
    whole = chat("suatsasu")
    places: tuple[SystemPlace, ...] = ("first", "nowhere")
    for place in places:
        earlier = placed(whole[:5], place)
        assert placed(whole, place)[: len(earlier)] == earlier
