"""The metrics of one app, and the text of `/metrics`.

They live in a registry of their own. vLLM keeps its metrics in the library's global registry, which is shown as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import get_args

from prometheus_client import REGISTRY, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.observability.histogram import Histogram
from app.observability.outcome import Wire
from engine.embeddings.manager import Embedder
from engine.generation import Generation
from engine.grammar.constraint import Outcome
from engine.manager import EngineManager
from engine.supervisor import EngineState

FIRST_TOKEN_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
GAP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class WireObserver:
    """Observes the generations of one wire."""

    def __init__(self, metrics: Metrics, wire: Wire) -> None:
        self._metrics = metrics
        self._wire = wire
        self.first_token_s = Histogram(FIRST_TOKEN_BUCKETS_S)
        self.gap_s = Histogram(GAP_BUCKETS_S)
        self.duration_s = Histogram(DURATION_BUCKETS_S)
        self.open = 0

    def started(self) -> None:
        self.open += 1

    def first_token(self, after_s: float) -> None:
        self.first_token_s.observe(after_s)

    def gap(self, since_last_s: float) -> None:
        self.gap_s.observe(since_last_s)

    def ended(self, generation: Generation) -> None:
        assert generation.ended_at is not None
        assert generation.outcome is not None
        self.open -= 1
        self.duration_s.observe(generation.ended_at - generation.started_at)
        self._metrics.generations.labels(self._wire, generation.outcome).inc()
        for call in self._metrics.on_ended:
            call(generation)
        if generation.error is not None:
            self._metrics.failures.labels(generation.error.fault.code).inc()
        self._metrics.prompt_tokens.labels(self._wire).inc(generation.usage.prompt_tokens)
        self._metrics.completion_tokens.labels(self._wire).inc(generation.usage.completion_tokens)


class Metrics(Collector):
    """All metrics of one app. It is also the collector that reads the gauges on each scrape."""

    def __init__(self, manager: EngineManager, embedder: Embedder) -> None:
        self._manager = manager
        self._embedder = embedder
        self._gauges: list[tuple[str, str, Callable[[], float]]] = []
        self._registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Finished requests, WebSocket messages included.", ("route", "wire", "outcome")
        )
        self.generations = self._counter("generations", "Finished generations.", ("wire", "outcome"))
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens of finished generations.", ("wire",))
        self.completion_tokens = self._counter(
            "completion_tokens", "Tokens generated, those of aborted generations included.", ("wire",)
        )
        self.refusals = self._counter("refusals", "Refused requests, by error code.", ("reason",))
        self.failures = self._counter("generation_failures", "Failed generations, by error code.", ("code",))
        self.unknown_fields = self._counter("unknown_fields", "Ignored request fields.", ("route",))
        self._texts = self._counter("embedded_texts", "Texts embedded or ranked.", ("model",))
        self._tokens = self._counter("embedded_tokens", "Tokens of the texts embedded or ranked.", ("model",))
        self._embedding_s = Histogram(DURATION_BUCKETS_S)
        self.wires: dict[Wire, WireObserver] = {wire: WireObserver(self, wire) for wire in ("http", "sse", "websocket")}
        self.on_ended: list[Callable[[Generation], None]] = []
        """Called with each finished generation."""
        self._registry.register(self)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"twowire_{name}", text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show what `read` returns as the gauge `twowire_<name>`; it is called on each scrape."""
        self._gauges.append((f"twowire_{name}", text, read))

    def embedded(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """Count a finished embedding or rerank request."""
        self._texts.labels(model).inc(texts)
        self._tokens.labels(model).inc(tokens)
        self._embedding_s.observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The gauges and the histograms. Called by the registry."""
        manager = self._manager
        yield GaugeMetricFamily(
            "twowire_generations_running", "Generations that hold a slot.", value=len(manager.active)
        )
        yield GaugeMetricFamily(
            "twowire_sequences_in_engine",
            "Sequences running or waiting in the engine.",
            value=manager.sequences,
        )
        yield GaugeMetricFamily("twowire_sequences_waiting", "Sequences waiting for a slot.", value=manager.waiting)
        streams = GaugeMetricFamily("twowire_open_streams", "Running generations, by wire.", labels=("wire",))
        for wire, observer in self.wires.items():
            streams.add_metric((wire,), observer.open)
        yield streams
        yield GaugeMetricFamily(
            "twowire_asyncio_tasks",
            "Tasks of the event loop. It grows if tasks leak.",
            len(asyncio.all_tasks()),
        )
        yield GaugeMetricFamily("twowire_engine_restarts", "Engines replaced.", value=manager.supervisor.restarts)
        watchdog = manager.supervisor.watchdog
        yield CounterMetricFamily("twowire_engine_hangs", "Engines that hung and were killed.", value=watchdog.hangs)
        yield CounterMetricFamily(
            "twowire_engine_heartbeats",
            "Tokens generated to check an idle engine.",
            value=watchdog.heartbeats,
        )
        for name, text, read in self._gauges:
            yield GaugeMetricFamily(name, text, value=read())
        state = GaugeMetricFamily("twowire_engine_state", "1 for the engine's current state.", labels=("state",))
        for name in EngineState:
            state.add_metric((name.value,), float(manager.state is name))
        yield state
        yield from self._grammar_metrics()
        yield from self._embedder_metrics()
        yield self._histogram("time_to_first_token_seconds", "From admission to the first token.", "first_token_s")
        yield self._histogram("inter_token_seconds", "Between two consecutive steps of a generation.", "gap_s")
        yield self._histogram("generation_seconds", "From admission to the end.", "duration_s")

    def _grammar_metrics(self) -> Iterable[Metric]:
        figures = self._manager.grammar_figures
        compiles = CounterMetricFamily(
            "twowire_grammar_compiles", "JSON schemas compiled, by outcome.", labels=("outcome",)
        )
        for outcome in get_args(Outcome):
            compiles.add_metric((outcome,), figures.outcomes[outcome])
        yield compiles
        yield CounterMetricFamily(
            "twowire_grammar_compile_seconds", "CPU time spent compiling JSON schemas.", value=figures.cpu_s
        )
        yield CounterMetricFamily(
            "twowire_grammar_cache_hits", "Requests whose JSON schema was compiled already.", value=figures.hits
        )

    def _embedder_metrics(self) -> Iterable[Metric]:
        embedder = self._embedder
        yield GaugeMetricFamily("twowire_texts_in_embedder", "Texts waiting or being computed.", value=embedder.texts)
        yield GaugeMetricFamily("twowire_embedder_restarts", "Embedders replaced.", value=embedder.supervisor.restarts)
        watchdog = embedder.supervisor.watchdog
        yield CounterMetricFamily(
            "twowire_embedder_hangs", "Embedders that hung and were killed.", value=watchdog.hangs
        )
        yield CounterMetricFamily(
            "twowire_embedder_heartbeats",
            "Texts embedded to check an idle embedder.",
            value=watchdog.heartbeats,
        )
        state = GaugeMetricFamily("twowire_embedder_state", "1 for the embedder's current state.", labels=("state",))
        for name in EngineState:
            state.add_metric((name.value,), float(embedder.state is name))
        yield state
        family = HistogramMetricFamily(
            "twowire_embedding_seconds", "From admission to the end of an embedding or rerank request."
        )
        buckets, total = self._embedding_s.cumulative()
        family.add_metric((), buckets, total)
        yield family

    def _histogram(self, name: str, text: str, attribute: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(f"twowire_{name}", text, labels=("wire",))
        for wire, observer in self.wires.items():
            buckets, total = getattr(observer, attribute).cumulative()
            family.add_metric((wire,), buckets, total)
        return family

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)
