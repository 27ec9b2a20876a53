"""The PromQL in deploy/: what each query asks for, and the metrics that a server has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[1] / "deploy"
OF_PROMETHEUS = frozenset({"up"})
"""Metrics that Prometheus itself makes."""


def alerts() -> list[dict[str, Any]]:
    """The rules of alerts.yaml."""
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Grafana's dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    return found


def queries() -> list[str]:
    """Every query of both, with Grafana's variables filled in."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    filled = [re.sub(r"\$__(rate_)?interval", "5m", query) for query in panels]
    return [*filled, *(rule["expr"] for rule in alerts())]


def selectors(query: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """The metrics that a query reads, each with the values that it wants of labels. Raises where it is no PromQL."""
    pending: list[Any] = [promql_parser.parse(query)]
    while pending:
        node = pending.pop()
        if isinstance(node, promql_parser.MatrixSelector):
            pending.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            yield str(node.name), {one.name: one.value.split("|") for one in node.matchers.matchers}
        else:
            children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs")]
            pending += [child for child in (*children, *getattr(node, "args", ())) if child is not None]


def names(exposition: str) -> set[str]:
    """The names under which Prometheus keeps what `exposition` holds, families without samples too."""
    found = set()
    for family in text_string_to_metric_families(exposition):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {family.name + suffix for suffix in suffixes} | {sample.name for sample in family.samples}
    return found
