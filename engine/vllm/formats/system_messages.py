"""Where a chat template takes system messages, and what becomes of those that it refuses or drops.

Agents put reminders into the middle of a chat, and some send several system messages at its beginning. Many templates
refuse these, or leave them out in silence. They keep their place here, so that the prompts of a dialogue's turns begin
alike and are found in the prefix cache.
"""

from __future__ import annotations

from typing import Any, Literal

from protocol.images import text_part

Message = dict[str, Any]

SystemPlace = Literal["anywhere", "first", "nowhere"]
"""Where a template takes them: in any place, one at the beginning, or not at all."""

_USER, _ANSWER = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}
_MARK = "twowire-probe"
_SYSTEM, _MARKED = {"role": "system", "content": _MARK}, {"role": "user", "content": _MARK}


def find_system_place(tokenizer: Any, template: str) -> SystemPlace:
    """Render a few chats to see; `anywhere` if even a plain one cannot be rendered like this."""

    def takes(*chat: Message) -> bool:
        try:
            text: str = tokenizer.apply_chat_template(
                list(chat), chat_template=template, tokenize=False, add_generation_prompt=True
            )
        except Exception:  # What templates raise is their own.
            return False
        return _MARK in text

    if not takes(_USER, _ANSWER, _MARKED):
        # The template wants more than this, or content of another form; so nothing is known.
        return "anywhere"
    if takes(_USER, _ANSWER, _SYSTEM, _USER) and takes(_USER, _SYSTEM):
        return "anywhere"
    return "first" if takes(_SYSTEM, _USER) else "nowhere"


def placed(messages: list[Message], place: SystemPlace) -> list[Message]:
    """The messages for a template that takes system messages in `place` only.

    System messages at the beginning become one, or, where there may be none, the beginning of the first message of the
    user. A later one is added to the message of the user or the tool before it, between tags as Claude Code uses them;
    after one of the assistant, it is put before what the user says next.
    """
    if place == "anywhere" or all(message["role"] != "system" for message in messages[place == "first" :]):
        return messages
    first = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    kept: list[Message] = []
    before = "\n\n".join(message["content"] for message in messages[:first])
    """What the user's next message begins with."""
    if before and place == "first":
        kept, before = [{"role": "system", "content": before}], ""
    for message in messages[first:]:
        if message["role"] != "system":
            if before:
                if message["role"] == "user":
                    message = _joined(message, before, message["content"])
                else:
                    kept.append({"role": "user", "content": before})
                before = ""
            kept.append(message)
        elif kept and not before and kept[-1]["role"] in ("user", "tool"):
            kept[-1] = _joined(kept[-1], kept[-1]["content"], _tagged(message))
        else:
            before = f"{before}\n\n{_tagged(message)}" if before else _tagged(message)
    return [*kept, {"role": "user", "content": before}] if before else kept


def _tagged(message: Message) -> str:
    return f"<system-reminder>\n{message['content']}\n</system-reminder>"


def _joined(message: Message, *contents: str | list[Message]) -> Message:
    if all(isinstance(content, str) for content in contents):
        return message | {"content": "\n\n".join(content for content in contents if content)}  # type: ignore[misc]  # texts
    parts: list[Message] = []
    for content in contents:
        parts += content if isinstance(content, list) else [text_part(content)] if content else []
    return message | {"content": parts}
