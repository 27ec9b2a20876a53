"""Which models are served, under which names, and what each is for."""

from __future__ import annotations

import time
from typing import Literal

from engine.embeddings.api import Kind
from engine.embeddings.manager import Embedder
from protocol.errors import Fault, TwowireError

ModelType = Literal["chat", "embeddings", "rerank"]
"""What a model is for, in the words of `/v1/models`."""

EMBEDDER_TYPES: dict[Kind, ModelType] = {"embedding": "embeddings", "reranker": "rerank"}

ROUTES_BY_TYPE: dict[ModelType, str] = {
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
}


class ServedModels:
    """The names that requests may give as `model`."""

    def __init__(self, names: tuple[str, ...], embedder: Embedder) -> None:
        """`names`: those of the text model, at least one."""
        self.names = names
        self.created = int(time.time())
        self._embedder = embedder

    @property
    def types(self) -> dict[str, ModelType]:
        """Every name that is served, and what it is for. The text model's names come first."""
        types: dict[str, ModelType] = dict.fromkeys(self.names, "chat")
        return types | {name: EMBEDDER_TYPES[kind] for name, kind in self._embedder.models.items()}

    def check(self, name: str, wanted: ModelType | None = "chat") -> None:
        """Raise `TwowireError` (404) unless `name` is served for what is `wanted`, or for anything if that is None."""
        if wanted == "chat" and name in self.names:
            return
        types = self.types
        if name in types and wanted in (types[name], None):
            return
        if name in types:
            known = ", ".join(other for other, its in types.items() if its == wanted)
            its = types[name]
            message = f"The model {name[:120]!r} is for {its} ({ROUTES_BY_TYPE[its]}), not for {wanted}."
        else:
            known = ", ".join(f"{other} ({its})" for other, its in types.items())
            message = f"The model {name[:120]!r} is not served here."
        if wanted is None or wanted in types.values():
            message += f" Available: {known}."
        else:
            because = f": {self._embedder.reason}" if not self._embedder.models and self._embedder.reason else ""
            message += f" There is no model for {wanted}{because}."
        raise TwowireError(Fault.MODEL_NOT_FOUND, message, param="model")
