"""What all tests share: how Hypothesis searches, whom clients trust, and which tests run one after another."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# How long an example takes depends on what else the machine does; a test that hangs has pytest's limit.
settings.register_profile(
    "any machine",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")

# A client of httpx reads all certificates of the file that is named here, which takes 40 ms; in a folder, it looks for
# one when it needs it. The tests make thousands of clients, for servers on this machine.
os.environ.pop("SSL_CERT_FILE", None)
os.environ.setdefault("SSL_CERT_DIR", ssl.get_default_verify_paths().openssl_capath)

LIVE = Path("tests", "live")
LONGEST_FIRST = ("the real engine", "the embedder", "the counting engine")
"""What a worker takes next: a long group at the end would leave the others idle."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByServer:
    return ByServer(config, log)


class ByServer(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not followed
    """Keeps the tests of a file on one worker, and all that need the real engine.

    Two engines that start or compute at once hold each other up so much that a start takes minutes in place of seconds.

    pytest-xdist 3.8 has groups (`--dist loadgroup`), but they change nothing with pytest 9.2: the name that they set
    is not the one that pytest reads.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid)


def _scope(nodeid: str) -> str:
    """What runs on one worker, from first to last."""
    file = Path(nodeid.partition("::")[0])
    if LIVE / "real" / "embeddings" in file.parents:
        return "the embedder"
    if LIVE / "real" in file.parents:
        return "the real engine"
    return str(file)


def _rank(nodeid: str) -> int:
    kind = "the counting engine" if Path(LIVE, "fake") in Path(nodeid.partition("::")[0]).parents else _scope(nodeid)
    return LONGEST_FIRST.index(kind) if kind in LONGEST_FIRST else len(LONGEST_FIRST)
