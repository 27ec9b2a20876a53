"""Figures of `/metrics` that no wire has a part in."""

from __future__ import annotations

from app.config.load import load_settings
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.grammar.constraint import Verdict
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory


async def test_compiled_schemas_are_counted_by_what_came_of_them() -> None:
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 0))
    services = make_services(load_settings([], {}), manager)
    for verdict in (Verdict("accepted", cpu_s=0.25), Verdict("accepted", cpu_s=0.5), Verdict("too_large", cpu_s=0.25)):
        manager.grammar_figures.compiled(verdict)
    manager.grammar_figures.hits += 3
    figures = services.metrics.exposition().decode()
    for line in (
        'twowire_grammar_compiles_total{outcome="accepted"} 2.0',
        'twowire_grammar_compiles_total{outcome="too_large"} 1.0',
        'twowire_grammar_compiles_total{outcome="too_slow"} 0.0',
        "twowire_grammar_compile_seconds_total 1.0",
        "twowire_grammar_cache_hits_total 3.0",
    ):
        assert line in figures.splitlines()
