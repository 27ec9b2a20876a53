"""Admits jobs to the embedder, or refuses them.

`engine.supervisor` keeps the embedder running. If it fails, the server goes on without it, and its routes say why.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from engine.api import StageReport
from engine.embeddings.api import Embedded, EmbedderBackend, EmbedderFactory, Job, Kind, ModelCard
from engine.supervisor import BACKOFF_FIRST_S, EngineState, HasSupervisor, Supervisor
from engine.watchdog import WatchdogLimits
from protocol.errors import Fault, TwowireError

MAX_WAITING_CHARS = 64 * 1024 * 1024
"""Characters of all texts that run or wait; a token id counts as four."""

CHARS_PER_TOKEN = 4
"""Typical for English; other languages have fewer. The estimate is corrected once the tokens are known."""

FIELDS: dict[Kind, str] = {"embedding": "input", "reranker": "documents"}


class Embedder(HasSupervisor[EmbedderBackend]):
    """Use: `start()`, then `run`, then `stop()`.

    `models` are the served names and their kinds. Without a `factory` it is off, for the reason `off_because`. Texts
    too long for the models in `truncated` are cut unless a request says otherwise. Unless it `takes_any_ids`, token ids
    must show that they are the model's own.
    """

    def __init__(
        self,
        factory: EmbedderFactory | None,
        models: dict[str, Kind],
        max_texts: int,
        *,
        off_because: str = "",
        truncated: Collection[str] = (),
        takes_any_ids: bool = False,
        backoff_first_s: float = BACKOFF_FIRST_S,
        watchdog: WatchdogLimits | None = None,
    ) -> None:
        self.models = models
        self.truncated = frozenset(truncated)
        self._takes_any_ids = takes_any_ids
        self.supervisor: Supervisor[EmbedderBackend] = Supervisor(
            "embedder", self._start_backend, watchdog=watchdog, backoff_first_s=backoff_first_s, logs_start=False
        )
        if factory is None:
            self.supervisor.state, self.supervisor.reason = EngineState.STOPPED, off_because
        self.texts = 0
        """Texts of the requests that run now."""
        self._factory = factory
        self._max_texts = max_texts
        self._chars = 0
        self._by_client: Counter[str] = Counter()
        self._running: set[asyncio.Future[Embedded]] = set()
        self._after: Callable[[], Awaitable[None]] | None = None
        self._has_machine: Callable[[], bool] = lambda: True

    # -- life ---------------------------------------------------------------------------------------------------

    def start(
        self, after: Callable[[], Awaitable[None]] | None = None, has_machine: Callable[[], bool] = lambda: True
    ) -> None:
        """Begin to start once `after()` has returned; returns at once. It yields the CPU while not `has_machine()`."""
        self._after, self._has_machine = after, has_machine
        if self._factory is not None:
            self.supervisor.run()

    async def _start_backend(self, report: StageReport) -> EmbedderBackend:
        assert self._factory is not None
        after, self._after = self._after, None
        if after is not None:
            report("waiting until the chat engine is ready")
            await after()
        backend = await self._factory(report)
        backend.has_machine = self._has_machine
        return backend

    def begin_drain(self) -> None:
        """Refuse new work from now on; what runs goes on."""
        self.supervisor.begin_drain()

    async def stop(self, drain_timeout_s: float = 0.0) -> None:
        """Refuse new work, let requests finish for `drain_timeout_s`, end the rest and the process."""
        self.begin_drain()
        if self._running:
            await asyncio.wait(self._running, timeout=drain_timeout_s)
        for run in list(self._running):
            run.cancel()
        await self.supervisor.stop()

    # -- requests -----------------------------------------------------------------------------------------------

    def estimated_tokens(self, job: Job) -> int:
        """Roughly how many tokens the model will read: a quarter of the characters, up to its maximum."""
        query_tokens = 0 if job.query is None else len(job.query) // CHARS_PER_TOKEN
        sizes = (len(text) // (CHARS_PER_TOKEN if isinstance(text, str) else 1) + query_tokens for text in job.texts)
        backend = self.supervisor.engine
        card = backend.cards.get(job.model) if backend is not None else None
        most = card.max_tokens if card is not None else None
        return sum(max(1, size if most is None else min(size, most)) for size in sizes)

    async def run(self, job: Job, client: str) -> Embedded:
        """Do a job of `client`. A cancellation ends it in the embedder too. Raises `TwowireError`."""
        backend = self._ready_backend()
        check_job(job, backend.cards[job.model], takes_any_ids=self._takes_any_ids)
        texts = len(job.texts)
        chars = sum(len(text) if isinstance(text, str) else 4 * len(text) for text in job.texts)
        self._admit(texts, chars, client, FIELDS[self.models[job.model]])
        self.texts += texts
        self._chars += chars
        self._by_client[client] += texts
        run = asyncio.ensure_future(backend.run(job, client))
        self._running.add(run)
        try:
            return await run
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _draining() from None
        finally:
            run.cancel()
            self._running.discard(run)
            self.texts -= texts
            self._chars -= chars
            self._by_client[client] -= texts
            if not self._by_client[client]:
                del self._by_client[client]

    def _ready_backend(self) -> EmbedderBackend:
        if self.state in (EngineState.DRAINING, EngineState.STOPPED):
            raise _draining()
        backend = self.supervisor.engine
        if backend is None or not self.is_ready:
            raise TwowireError(
                Fault.ENGINE_NOT_READY,
                f"The embedder is not available: {self.state.value} ({self.reason}).",
                retry_after_s=5,
            )
        return backend

    def _admit(self, texts: int, chars: int, client: str, field: str) -> None:
        share = max(self._max_texts // 2, 1)
        if texts > share:
            raise TwowireError(
                Fault.INVALID_VALUE,
                f"{field} has {texts} texts; this server accepts {share} at once.",
                param=field,
            )
        # One client may fill half of the queue, which leaves room for others.
        is_full = self._by_client[client] + texts > share or self.texts + texts > self._max_texts
        if is_full or (self._chars and self._chars + chars > MAX_WAITING_CHARS):
            if not self._by_client[client]:
                del self._by_client[client]
            raise TwowireError(
                Fault.QUEUE_FULL,
                f"The queue is full: {self.texts} of at most {self._max_texts} texts are waiting ({share} per client).",
                retry_after_s=1,
            )


def _draining() -> TwowireError:
    return TwowireError(Fault.DRAINING, "The server is shutting down and takes no new requests.", retry_after_s=5)


def check_job(job: Job, card: ModelCard, *, takes_any_ids: bool = True) -> None:
    """Raise `TwowireError` (400) if the model cannot do the job.

    Unless it `takes_any_ids`, token ids must begin and end with the special tokens of the model's tokenizer.
    """
    if job.prompt_name is not None and job.prompt_name not in card.prompts:
        known = ", ".join(card.prompts) or "none"
        raise TwowireError(
            Fault.INVALID_VALUE,
            f"The model has no prompt {job.prompt_name[:60]!r}; it has: {known}.",
            param="prompt_name",
        )
    if job.dimensions is not None and job.dimensions != card.dimensions:
        _check_dimensions(job.dimensions, card)
    for place, ids in enumerate(job.texts):
        if not isinstance(ids, str):
            _check_ids(ids, f"input[{place}]" if job.is_list else "input", card, takes_any_ids)


_SEND_TEXTS = "Send texts (in LangChain: OpenAIEmbeddings(…, check_embedding_ctx_length=False))"


def _check_ids(ids: list[int], param: str, card: ModelCard, takes_any_ids: bool) -> None:
    if max(ids) >= card.vocabulary:
        message = (
            f"{param} holds the token id {max(ids)}; the vocabulary has {card.vocabulary} tokens. Token ids must be"
            f" those of the model's own tokenizer, not of tiktoken's. {_SEND_TEXTS}."
        )
    elif not (takes_any_ids or is_framed(ids, card)):
        message = (
            f"{param} holds token ids that may be another tokenizer's, such as tiktoken's: the vector would be that of"
            f" other words. {_SEND_TEXTS}, or ids with the model's special tokens around them; a server that is"
            " started with --embedding-token-ids allow takes any."
        )
    else:
        return
    raise TwowireError(Fault.INVALID_VALUE, message, param=param)


def is_framed(ids: list[int], card: ModelCard) -> bool:
    """Whether `ids` begin and end with the special tokens of the model's tokenizer, which must have both."""
    before, after = list(card.before), list(card.after)
    has_both = bool(before and after) and len(ids) >= len(before) + len(after)
    return has_both and ids[: len(before)] == before and ids[-len(after) :] == after


def _check_dimensions(wanted: int, card: ModelCard) -> None:
    if wanted > card.dimensions:
        message = f"dimensions must be at most {card.dimensions}, the size of the model's vectors; got {wanted}."
    elif card.shorter is False:
        message = (
            f"The model was not trained for shorter vectors; dimensions must be {card.dimensions} or left out,"
            f" got {wanted}."
        )
    elif isinstance(card.shorter, tuple) and wanted not in card.shorter:
        sizes = ", ".join(str(size) for size in card.shorter)
        message = f"dimensions must be one of {sizes}; got {wanted}."
    else:
        return
    raise TwowireError(Fault.INVALID_VALUE, message, param="dimensions")
