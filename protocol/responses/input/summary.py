"""The content of compaction items: a summary of the dialogue, which clients hand back as it is.

It is encoded, so that nobody takes it for a text to show or change, and not encrypted: it says what the dialogue said.
"""

from __future__ import annotations

import base64

PREFIX = "twowire1."
"""Of what this server has written."""


def sealed(summary: str) -> str:
    """A summary as the `encrypted_content` of an item."""
    return PREFIX + base64.urlsafe_b64encode(summary.encode()).decode()


def opened(content: str) -> str:
    """The summary in `content`. Raises `ValueError` for what `sealed` has not made."""
    if not content.startswith(PREFIX):
        raise ValueError("not a summary")
    text = base64.b64decode(content.removeprefix(PREFIX), altchars=b"-_", validate=True).decode()
    if "\x00" in text:
        raise ValueError("NUL")
    return text
