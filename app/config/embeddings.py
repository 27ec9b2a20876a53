"""The options of the embedder: its models, and what it may take of the machine.

Does not know the other options, which `app.config.settings` adds, nor how embeddings are computed.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from app.config.field import EMBEDDINGS, option
from app.config.values import Device, NamedModels, Names, Truncations


class EmbeddingOptions(BaseModel):
    """A part of `app.config.settings.Settings`."""

    embeddings: bool = option(
        EMBEDDINGS, True, "Serve embeddings beside the chat, in a process of their own, where they are installed."
    )
    embedding_model: NamedModels = option(
        EMBEDDINGS,
        [],
        "The models for /v1/embeddings, each with the name that clients ask for it by: a folder, or a name on the "
        "Hugging Face hub.",
        shown="all-MiniLM-L6-v2, where its package is installed",
        metavar="NAME=MODEL",
    )
    reranker: NamedModels = option(
        EMBEDDINGS,
        [],
        "The cross-encoders for /v1/rerank, written in the same way.",
        shown="none",
        metavar="NAME=MODEL",
    )
    embedding_device: Device = option(
        EMBEDDINGS,
        "auto",
        "Where to compute embeddings: cpu, cuda or cuda:N; auto takes a GPU where there is one.",
        metavar="DEVICE",
    )
    embedding_dtype: Literal["float32", "bfloat16", "float16"] = option(
        EMBEDDINGS,
        "float32",
        "The number format to compute embeddings in. The shorter ones are faster on hardware that has them, and "
        "right to two digits or three.",
    )
    embedding_threads: int | None = option(
        EMBEDDINGS,
        None,
        "How many processors embeddings may use: all for one batch that is alone, else one each for as many batches.",
        shown="all of the machine's",
        ge=1,
        le=1024,
    )
    embedding_nice: int = option(
        EMBEDDINGS,
        19,
        "How far embeddings stand back when the processors are busy: 0 is as important as the chats, 19 least.",
        ge=0,
        le=19,
    )
    embedding_batch_tokens: int | None = option(
        EMBEDDINGS,
        None,
        "How many tokens are computed at once, padding counted.",
        shown="1024 on a CPU, 16384 on a GPU",
        ge=1,
    )
    embedding_max_queued: int = option(
        EMBEDDINGS,
        20_000,
        "How many texts may wait or be computed, of which one client may have half; further requests are refused.",
        ge=2,
    )
    embedding_matryoshka: Names = option(
        EMBEDDINGS,
        [],
        "The names of embedding models whose vectors may be shortened although their files do not say that they "
        "were trained for it.",
        shown="none",
        metavar="NAME",
    )
    embedding_truncate: Truncations = option(
        EMBEDDINGS,
        ["refuse"],
        "What to do with a text that is longer than the embedding model reads, unless the request says it: refuse it, "
        "or cut its end off. NAME=end and NAME=refuse are for one model.",
        shown="refuse",
        metavar="end|refuse",
    )
    embedding_token_ids: Literal["refuse", "allow"] = option(
        EMBEDDINGS,
        "refuse",
        "Whether to accept token ids in place of texts if nothing shows that they are the model's own. Clients that "
        "use OpenAI's tokenizer, as LangChain does by default, would get vectors of other words.",
    )
