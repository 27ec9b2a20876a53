"""What an embedding request becomes, and what an embedder must be able to do.

Does not know how vectors are made. The real backend is `engine.embeddings.process`, a small fake is in
`tests/engine/embeddings/fake_embedder.py`. Ranking is the same work: a document with a query beside it, and a score for
a vector.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from engine.api import StageReport, Watched
from engine.option import Option

Kind = Literal["embedding", "reranker"]


def _check_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise ValueError(f"must be auto, cpu, cuda or cuda:N, got {device!r}")
    return device


@dataclass(frozen=True, slots=True)
class EmbedderConfig:
    """What the embedder is started with: folders or hub names of the models, by the names they are served under.

    `threads` and `batch_tokens` are None where the embedder is to choose. `matryoshka` names the models whose vectors
    may be shortened although their files do not say so.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    rerankers: Mapping[str, str] = field(default_factory=dict)
    device: Annotated[
        str,
        Option(
            "Where to compute embeddings: cpu, cuda or cuda:N; auto uses a GPU if there is one.",
            metavar="DEVICE",
            check=_check_device,
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Option(
            "The number format to compute embeddings in. The 16-bit ones are faster where the hardware supports them, "
            "and accurate to two or three digits."
        ),
    ] = "float32"
    threads: Annotated[
        int | None,
        Option(
            "How many CPU cores embeddings may use: all for a single batch, or one each for as many batches.",
            shown="all cores",
            ge=1,
            le=1024,
        ),
    ] = None
    nice: Annotated[
        int,
        Option(
            "The niceness of embeddings when the CPU is busy: 0 competes with chats as an equal, 19 yields most.",
            ge=0,
            le=19,
        ),
    ] = 19
    batch_tokens: Annotated[
        int | None,
        Option(
            "How many tokens to compute in one batch, padding included.",
            shown="1024 on a CPU, 16384 on a GPU",
            ge=1,
        ),
    ] = None
    matryoshka: Annotated[
        tuple[str, ...],
        Option(
            "The embedding models whose vectors may be shortened although their files do not say that they were "
            "trained for it.",
            shown="none",
            metavar="NAME",
        ),
    ] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of a model once it is loaded.

    `max_tokens` counts the special tokens, too. `shorter` are the dimensions that its vectors may be shortened to:
    True for any. `before` and `after` are the special tokens that stand around every text.
    """

    kind: Kind
    dimensions: int = 1
    max_tokens: int = 512
    vocabulary: int = 0
    prompts: tuple[str, ...] = ()
    shorter: bool | tuple[int, ...] = False
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """The texts of one request, and how they are to be turned into vectors; with a `query`, into scores.

    `texts` are texts or token ids. A vector is asked for as the bytes that stand in the answer: a JSON list, or a JSON
    string of base64.
    """

    model: str
    texts: Sequence[str | list[int]]
    query: str | None = None
    is_list: bool = True
    """An error names the place in `input`; otherwise `input` is the one text."""
    truncate: bool = False
    base64: bool = False
    dimensions: int | None = None
    normalize: bool | None = None
    prompt_name: str | None = None
    task: str | None = None


@dataclass(slots=True)
class Embedded:
    """What a job came to: a piece of JSON for each text, in their order, and the tokens that were read."""

    pieces: list[bytes]
    tokens: int = 0


class EmbedderBackend(Watched, Protocol):
    """A running embedder. Made by an `EmbedderFactory`, ended by `close`. Its heartbeat is a text for nobody."""

    @property
    def cards(self) -> Mapping[str, ModelCard]:
        """What is known of each model."""

    has_machine: Callable[[], bool]
    """Whether nothing else computes on this machine just now; set by whoever started it."""

    async def run(self, job: Job, client: str) -> Embedded:
        """Do a job; a cancellation ends it in the embedder, too. Raises `TwowireError`.

        Jobs of different clients share the embedder evenly, whatever they ask for; so do the jobs of one client.
        """

    async def close(self) -> None:
        """End it and its process. Does not raise. May be called after its death."""


class EmbedderFactory(Protocol):
    """Starts an embedder without blocking the event loop."""

    async def __call__(self, report: StageReport) -> EmbedderBackend:
        """Raises `EngineStartError` when the configuration is at fault, anything else when the start failed."""
