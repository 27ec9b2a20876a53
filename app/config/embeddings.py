"""Which embedding models and rerankers to serve, and how to treat the texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from app.config.values import check_models, check_truncations
from engine.option import Option


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """What is served. How it is computed is in `engine.embeddings.api.EmbedderConfig`."""

    embeddings: Annotated[
        bool,
        Option("Serve embeddings along with chats, in a separate process, if the packages for them are installed."),
    ] = True
    embedding_model: Annotated[
        tuple[str, ...],
        Option(
            "The models for /v1/embeddings, each with the name that clients use for it: a folder, or a name on the "
            "Hugging Face Hub.",
            shown="all-MiniLM-L6-v2, if its package is installed",
            metavar="NAME=MODEL",
            check=check_models,
        ),
    ] = ()
    reranker: Annotated[
        tuple[str, ...],
        Option(
            "The cross-encoders for /v1/rerank, in the same form.",
            shown="none",
            metavar="NAME=MODEL",
            check=check_models,
        ),
    ] = ()
    embedding_max_queued: Annotated[
        int,
        Option(
            "The maximum number of texts waiting or being computed, at most half of them from one client; further "
            "requests are refused.",
            ge=2,
        ),
    ] = 20_000
    embedding_truncate: Annotated[
        tuple[str, ...],
        Option(
            "What to do by default with a text that is too long for the embedding model: refuse it, or cut off its "
            "end. NAME=end and NAME=refuse apply to one model.",
            shown="refuse",
            metavar="end|refuse",
            check=check_truncations,
        ),
    ] = ("refuse",)
    embedding_token_ids: Annotated[
        Literal["refuse", "allow"],
        Option(
            "Whether to accept token ids in place of texts when it is unclear whether they are the model's own. "
            "Clients that use OpenAI's tokenizer, as LangChain does by default, would get the vectors of other words."
        ),
    ] = "refuse"

    @property
    def models(self) -> dict[str, str]:
        """Folders or hub names of the embedding models, by served name."""
        return _by_name(self.embedding_model)

    @property
    def rerankers(self) -> dict[str, str]:
        """Folders or hub names of the rerankers, by served name."""
        return _by_name(self.reranker)

    @property
    def truncations(self) -> dict[str, bool]:
        """Whether to cut texts that are too long, by model; under "", the default."""
        return {name: what == "end" for name, _, what in (one.rpartition("=") for one in self.embedding_truncate)}


def _by_name(models: tuple[str, ...]) -> dict[str, str]:
    return {name: model for name, _, model in (one.partition("=") for one in models)}
