"""The embedder's models: sentence-transformers' encoders and cross-encoders.

Written for sentence-transformers 6.2. A model gets token ids, not texts, because texts are counted long before they are
computed; the model's own modules do the rest, so the vectors are those of `SentenceTransformer.encode`. Import it
lazily: torch and transformers take five seconds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
import torch
from sentence_transformers.base.modules import Normalize

from engine.embeddings.api import ModelCard

CHARS_PER_TOKEN = 64
"""Hardly any text has so many characters per token; of a longer one, only the beginning is tokenized at first."""

PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names of passage prompts, in the order of `SentenceTransformer.encode_document`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of one request."""

    query: str | None = None
    truncate: bool = False
    base64: bool = False
    dimensions: int | None = None
    normalize: bool | None = None
    prompt_name: str | None = None
    task: str | None = None


@dataclass(slots=True)
class Tokens:
    """A tokenized text. `prompt` counts the tokens of a prompt that pooling leaves out."""

    ids: list[int]
    types: list[int] | None = None
    prompt: int = 0
    is_too_long: bool = False


class Model(Protocol):
    """A loaded model."""

    card: ModelCard

    def tokens(self, texts: Sequence[str | list[int]], wanted: Wanted) -> list[Tokens]:
        """The tokens of each text, truncated if `wanted` allows it."""

    def compute(self, tokens: Sequence[Tokens], wanted: Sequence[Wanted]) -> list[bytes]:
        """The vector or score of each text, as JSON; nothing for one whose values are no numbers."""


class _Tokenizer:
    """A model's tokenizer, and the special tokens that it puts around texts."""

    def __init__(self, model: Any) -> None:
        self._tokenizer = model[0].tokenizer
        limits = (model.max_seq_length, self._tokenizer.model_max_length)
        # A tokenizer without a limit has one of 10**30.
        self.max_tokens = int(min(limit for limit in limits if limit))
        self.vocabulary = len(self._tokenizer)
        self._has_types = "token_type_ids" in self._tokenizer.model_input_names
        plain, special = self._ids(["a"], add_special_tokens=False)[0], self._ids(["a"])[0]
        at = next(place for place in range(len(special)) if special[place : place + len(plain)] == plain)
        self.before, self.after = special[:at], special[at + len(plain) :]

    def _ids(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        ids: list[list[int]] = self._read(texts, **options)["input_ids"]
        return ids

    def _read(self, texts: Sequence[Any], **options: Any) -> Any:
        return self._tokenizer(
            texts, padding=False, truncation=False, return_attention_mask=False, verbose=False, **options
        )

    def length(self, text: str) -> int:
        """The tokens of `text`, with the special ones before it but not those after it."""
        return len(self._ids([text])[0]) - len(self.after)

    def texts(self, texts: Sequence[str], truncate: bool) -> list[Tokens]:
        """The tokens of texts, including special ones."""
        enough = self.max_tokens * CHARS_PER_TOKEN
        ids = self._ids([text[:enough] for text in texts])
        return [
            self._cut(
                self._ids([text])[0] if len(text) > enough and len(found) < 2 * self.max_tokens else found, truncate
            )
            for text, found in zip(texts, ids, strict=True)
        ]

    def ids(self, ids: list[int], truncate: bool) -> Tokens:
        """The same for token ids, which may already include special ones."""
        before, after = self.before, self.after
        is_whole = ids[: len(before)] == before and ids[len(ids) - len(after) :] == after and len(ids) > len(before)
        return self._cut(list(ids) if is_whole else before + ids + after, truncate)

    def _cut(self, ids: list[int], truncate: bool) -> Tokens:
        if len(ids) <= self.max_tokens:
            return Tokens(ids)
        if not truncate:
            return Tokens(ids, is_too_long=True)
        return Tokens(ids[: self.max_tokens - len(self.after)] + self.after)

    def pairs(self, query: str, texts: Sequence[str], truncate: bool) -> list[Tokens]:
        """The tokens of a query with each text; the longer of the two is truncated first."""
        enough = self.max_tokens * CHARS_PER_TOKEN
        pairs = [(query[:enough], text[:enough]) for text in texts]
        read = self._read(pairs)
        if truncate and any(len(ids) > self.max_tokens for ids in read["input_ids"]):
            read = self._tokenizer(
                pairs, truncation="longest_first", max_length=self.max_tokens, return_attention_mask=False
            )
        types = read["token_type_ids"] if self._has_types else [None] * len(texts)
        return [
            Tokens(ids, kinds, is_too_long=len(ids) > self.max_tokens)
            for ids, kinds in zip(read["input_ids"], types, strict=True)
        ]

    def features(self, tokens: Sequence[Tokens], device: torch.device) -> dict[str, Any]:
        """A padded batch, as `Transformer.preprocess` would make it."""
        longest = max(len(one.ids) for one in tokens)
        shape = (len(tokens), longest)
        ids = np.full(shape, self._tokenizer.pad_token_id or 0, dtype=np.int64)
        mask, types = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        is_left = self._tokenizer.padding_side == "left"
        for row, one in enumerate(tokens):
            place = slice(longest - len(one.ids), longest) if is_left else slice(0, len(one.ids))
            ids[row, place], mask[row, place] = one.ids, 1
            if one.types is not None:
                types[row, place] = one.types
        arrays = {"input_ids": ids, "attention_mask": mask} | ({"token_type_ids": types} if self._has_types else {})
        features: dict[str, Any] = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return features | {"modality": "text"}


class Encoder:
    """A model that turns texts into vectors."""

    def __init__(self, model: Any, path: str, *, shorter: bool = False) -> None:
        self._model = model
        self._tokenizer = _Tokenizer(model)
        modules = list(model)
        # Done here instead, because a request may turn it off.
        self._normalizes = type(modules[-1]) is Normalize
        self._modules = modules[:-1] if self._normalizes else modules
        self._leaves_prompt_out = any(getattr(module, "include_prompt", True) is False for module in modules)
        self.card = ModelCard(
            kind="embedding",
            dimensions=model.get_embedding_dimension(),
            max_tokens=self._tokenizer.max_tokens,
            vocabulary=self._tokenizer.vocabulary,
            prompts=tuple(model.prompts),
            shorter=shorter or trained_dimensions(model[0].config, Path(path)),
            before=tuple(self._tokenizer.before),
            after=tuple(self._tokenizer.after),
        )

    def _prompt(self, wanted: Wanted) -> str:
        prompts: Mapping[str, str] = self._model.prompts
        name = wanted.prompt_name
        if name is None and wanted.task is not None:
            names = ("query",) if wanted.task == "query" else PASSAGE_PROMPTS
            # Prompts that a model lacks are empty; prefer one that is not.
            known = sorted((one for one in names if one in prompts), key=lambda one: not prompts[one])
            name = known[0] if known else None
        return prompts.get(name or self._model.default_prompt_name or "", "")

    def tokens(self, texts: Sequence[str | list[int]], wanted: Wanted) -> list[Tokens]:
        prompt = self._prompt(wanted)
        if not isinstance(texts[0], str):
            return [self._tokenizer.ids(ids, wanted.truncate) for ids in texts if not isinstance(ids, str)]
        tokens = self._tokenizer.texts([prompt + text for text in texts if isinstance(text, str)], wanted.truncate)
        if prompt and self._leaves_prompt_out:
            length = self._tokenizer.length(prompt)
            for one in tokens:
                one.prompt = length
        return tokens

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed
    def compute(self, tokens: Sequence[Tokens], wanted: Sequence[Wanted]) -> list[bytes]:
        features = self._tokenizer.features(tokens, self._model.device)
        if tokens[0].prompt:
            features["prompt_length"] = tokens[0].prompt
        for module in self._modules:
            features = module(features)
        vectors = features["sentence_embedding"].float()
        whole = torch.nn.functional.normalize(vectors, p=2, dim=-1).cpu().numpy()
        raw = vectors.cpu().numpy()
        return [self._piece(raw[row], whole[row], one) for row, one in enumerate(wanted)]

    def _piece(self, raw: Any, whole: Any, wanted: Wanted) -> bytes:
        size = wanted.dimensions
        is_shorter = size is not None and size < len(raw)
        is_scaled = (self._normalizes or is_shorter) if wanted.normalize is None else wanted.normalize
        vector = whole if is_scaled else raw
        if not np.isfinite(vector).all():
            return b""
        if is_shorter:
            vector = vector[:size]
            if is_scaled:
                vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
        if wanted.base64:
            return b'"%b"' % base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes())
        return orjson.dumps(np.ascontiguousarray(vector, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY)


class Ranker:
    """A cross-encoder: a model that reads a query and a text together and returns a score."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tokenizer = _Tokenizer(model)
        self.card = ModelCard("reranker", max_tokens=self._tokenizer.max_tokens, vocabulary=self._tokenizer.vocabulary)

    def tokens(self, texts: Sequence[str | list[int]], wanted: Wanted) -> list[Tokens]:
        return self._tokenizer.pairs(
            wanted.query or "", [text for text in texts if isinstance(text, str)], wanted.truncate
        )

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not followed
    def compute(self, tokens: Sequence[Tokens], wanted: Sequence[Wanted]) -> list[bytes]:
        scores = self._model(self._tokenizer.features(tokens, self._model.device))["scores"].float()
        scores = self._model.activation_fn(scores).reshape(len(tokens)).cpu().numpy()
        return [orjson.dumps(float(score)) if np.isfinite(score) else b"" for score in scores]


def trained_dimensions(config: Any, folder: Path) -> bool | tuple[int, ...]:
    """The dimensions that a model's vectors may be shortened to, according to its files; True for any.

    vLLM reads `matryoshka_dimensions` and `is_matryoshka` in config.json too; sentence-transformers only names the loss
    in the model's card.
    """
    sizes = getattr(config, "matryoshka_dimensions", None)
    if sizes:
        return tuple(sizes)
    if getattr(config, "is_matryoshka", False):
        return True
    card = folder / "README.md"
    if not card.is_file():
        return False
    head = re.match(r"---\n(.*?)\n---", card.read_text("utf-8", errors="replace"), re.DOTALL)
    return head is not None and re.search(r"^- loss:Matryoshka", head[1], re.MULTILINE) is not None
