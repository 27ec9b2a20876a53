"""How an option is declared: its group, its help text, and what else the flags and the documents say of it.

Does not know which options there are.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

LISTENING, TLS, MODEL, ENGINE, LIMITS, LOGGING = "Listening", "TLS", "Model", "Engine", "Limits", "Logging"
EMBEDDINGS = "Embeddings"
CONNECTIONS = "Connections"
CHANNEL = "WebSocket and resuming"
CONFIGURATION = "Configuration file"

GROUPS = (LISTENING, TLS, MODEL, ENGINE, EMBEDDINGS, LIMITS, CONNECTIONS, CHANNEL, LOGGING, CONFIGURATION)
"""In the order in which people read of them."""


def option(
    group: str, default: Any, description: str, *, shown: str | None = None, metavar: str = "", **rest: Any
) -> Any:
    """A field with its help text; `shown` says its default in words where the value would not."""
    extra: dict[str, Any] = {"group": group, "shown": shown, "metavar": metavar}
    return Field(default=default, description=description, json_schema_extra=extra, **rest)
