"""The interface between the embedder's manager and its backend.

The real backend is `engine.embeddings.process`, a small fake is in `tests/engine/embeddings/fake_embedder.py`. Ranking
is the same work: documents with a query beside them, and scores in place of vectors.
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
    """The embedder's configuration: folders or hub names of models, by the names they are served under.

    If `threads` or `batch_tokens` is None, the embedder chooses. `matryoshka` names models whose vectors may be
    shortened although their files do not say so.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    rerankers: Mapping[str, str] = field(default_factory=dict)
    device: Annotated[
        str,
        Option(
            "The device for embeddings: cpu, cuda or cuda:N; auto uses a GPU if there is one.",
            metavar="DEVICE",
            check=_check_device,
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Option(
            "The number format for embeddings. The 16-bit formats are faster where the hardware supports them, and "
            "accurate to two or three digits."
        ),
    ] = "float32"
    backend: Annotated[
        Literal["auto", "torch", "openvino"],
        Option(
            "What computes embeddings on a CPU: torch, or OpenVINO, which is faster in float32 and bfloat16. auto "
            "takes OpenVINO if it is installed and gives the same values, otherwise torch."
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        Option(
            "The number of CPU cores for embeddings: all for a single batch, or one each for as many batches.",
            shown="all cores",
            ge=1,
            le=1024,
        ),
    ] = None
    nice: Annotated[
        int,
        Option(
            "The niceness of embeddings when the CPU is busy: 0 gives them the same priority as chats, 19 the lowest.",
            ge=0,
            le=19,
        ),
    ] = 19
    batch_tokens: Annotated[
        int | None,
        Option(
            "The maximum number of tokens in one batch, including padding.",
            shown="1024 on a CPU, 16384 on a GPU",
            ge=1,
        ),
    ] = None
    matryoshka: Annotated[
        tuple[str, ...],
        Option(
            "The embedding models whose vectors may be shortened even though their files do not say that they were "
            "trained for it.",
            shown="none",
            metavar="NAME",
        ),
    ] = ()


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The properties of a loaded model.

    `max_tokens` includes the special tokens. `shorter` are the dimensions its vectors may be shortened to; True for
    any. `before` and `after` are the special tokens around every text.
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
    """The texts or token ids of one request, and how to turn them into vectors; with a `query`, into scores.

    A vector comes as the bytes of the answer: a JSON list, or a JSON string of base64.
    """

    model: str
    texts: Sequence[str | list[int]]
    query: str | None = None
    is_list: bool = True
    """Whether `input` is a list, so that errors name the place in it."""
    truncate: bool = False
    base64: bool = False
    dimensions: int | None = None
    normalize: bool | None = None
    prompt_name: str | None = None
    task: str | None = None


@dataclass(slots=True)
class Embedded:
    """The result of a job: a piece of JSON for each text, in order, and the tokens that were read."""

    pieces: list[bytes]
    tokens: int = 0


class EmbedderBackend(Watched, Protocol):
    """A running embedder. Made by an `EmbedderFactory`, ended by `close`. Its heartbeat computes a text."""

    @property
    def cards(self) -> Mapping[str, ModelCard]:
        """The models' properties, by name."""

    has_machine: Callable[[], bool]
    """Whether nothing else computes on this machine now; set by the manager."""

    async def run(self, job: Job, client: str) -> Embedded:
        """Do a job; a cancellation ends it in the embedder too. Raises `TwowireError`.

        Clients share the embedder evenly, whatever they ask for; so do the jobs of one client.
        """

    async def close(self) -> None:
        """Stop it and its process. Does not raise. May be called after its death."""


class EmbedderFactory(Protocol):
    """Starts an embedder without blocking the event loop."""

    async def __call__(self, report: StageReport) -> EmbedderBackend:
        """Raises `EngineStartError` if the configuration is at fault, anything else if the start failed."""
