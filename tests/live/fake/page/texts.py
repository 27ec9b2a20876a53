"""What the tests have the model say, and conversations to import."""

from __future__ import annotations

import json
from typing import Any

from tests.live.browser.pages import Chat

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


async def import_chats(chat: Chat, content: object) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    file = {"name": "chats.json", "mimeType": "application/json", "buffer": text.encode()}
    await chat.page.set_input_files("#import-file", files=[file])  # type: ignore[arg-type]  # a FilePayload
