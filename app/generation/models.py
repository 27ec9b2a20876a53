"""Which models are served, under which names, and what each is for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from app.config.models import DEFAULT_NAME
from engine.adapters.api import Adapter
from engine.embeddings.api import Kind
from engine.embeddings.manager import Embedder
from protocol.errors import Fault, TwowireError

ModelType = Literal["chat", "transcription", "embeddings", "rerank"]
"""What a model is for, in the words of `/v1/models`."""

EMBEDDER_TYPES: dict[Kind, ModelType] = {"embedding": "embeddings", "reranker": "rerank"}

ROUTES_BY_TYPE: dict[ModelType, str] = {
    "chat": "/v1/chat/completions",
    "transcription": "/v1/audio/transcriptions",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
}


class ServedModels:
    """The names that requests may give as `model`."""

    def __init__(
        self,
        names: tuple[str, ...],
        embedder: Embedder,
        aliases: Sequence[tuple[str, str]] = (),
        adapters: Mapping[str, Adapter] | None = None,
        *,
        is_speech_model: Callable[[], bool] = lambda: False,
    ) -> None:
        """`names` are those of the engine's model, at least one; `aliases` are patterns with the names they stand for.

        `adapters` are the model's, by name, as they are at the time. `is_speech_model`: whether it writes down
        recordings, as far as is known now.
        """
        self.names = names
        self.adapters = adapters if adapters is not None else {}
        self._is_speech_model = is_speech_model
        self._aliases = [
            (
                re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL),
                names[0] if name == DEFAULT_NAME and name not in names else name,
            )
            for pattern, name in aliases
        ]
        self.created = int(time.time())
        self._embedder = embedder

    @property
    def type(self) -> ModelType:
        """What the engine's model is for."""
        return "transcription" if self._is_speech_model() else "chat"

    @property
    def types(self) -> dict[str, ModelType]:
        """Every name that is served, and what it is for. The engine's names come first."""
        types: dict[str, ModelType] = dict.fromkeys((*self.names, *self.adapters), self.type)
        return types | {name: EMBEDDER_TYPES[kind] for name, kind in self._embedder.models.items()}

    def check(self, name: str, wanted: ModelType | None = "chat") -> str:
        """The served name that `name` stands for: itself, or an alias's.

        Raises `TwowireError` (404) unless it is served for what is `wanted`, or for anything if that is None.
        """
        if wanted == self.type and (name in self.names or name in self.adapters):
            return name
        types = self.types
        if name in types and wanted in (types[name], None):
            return name
        if name not in types and wanted in (self.type, None):
            for pattern, target in self._aliases:
                if pattern.fullmatch(name) and (target in self.names or target in self.adapters):
                    return target
        if name in types:
            known = ", ".join(other for other, its in types.items() if its == wanted)
            its = types[name]
            message = f"The model {name[:120]!r} is for {its} ({ROUTES_BY_TYPE[its]}), not for {wanted}."
        else:
            known = ", ".join(f"{other} ({its})" for other, its in types.items())
            message = f"The model {name[:120]!r} is not served here."
        if wanted is None or wanted in types.values():
            message += f" Available: {known}."
            if name not in types and wanted == self.type:
                message += " The server's --model-alias can give them other names."
        else:
            because = f": {self._embedder.reason}" if not self._embedder.models and self._embedder.reason else ""
            message += f" There is no model for {wanted}{because}."
        raise TwowireError(Fault.MODEL_NOT_FOUND, message, param="model")
