"""How Hypothesis looks for counterexamples, and which tests run one after another when several run at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does; a test that hangs has pytest's limit.
settings.register_profile(
    "any machine",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

LIVE = Path(__file__).parent / "live"
LONGEST_FIRST = ("the shared server", "servers of their own", LIVE / "fake")
"""What a worker takes next, when there are several: a long group at the end would leave the others idle."""


# First, because pytest-xdist puts the group into the test's name.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests that share a server on one worker of pytest-xdist, and at most two real engines in memory."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _group(item: pytest.Item) -> str:
    if "shared_server" in getattr(item, "fixturenames", ()):
        return "the shared server"
    if LIVE / "real" in item.path.parents:
        return "servers of their own"
    return item.nodeid.partition("::")[0]


def _rank(item: pytest.Item) -> int:
    for rank, part in enumerate(LONGEST_FIRST):
        if part == _group(item) or part in item.path.parents:
            return rank
    return len(LONGEST_FIRST)
