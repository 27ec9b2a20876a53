"""One server with scripted answers for all clients, whose telemetry is off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.servers.server import Server, fake_server


@pytest.fixture(scope="session")
def scripted() -> Iterator[Server]:
    with fake_server(env={"FAKE_PACE_S": "0"}) as server:
        yield server


@pytest.fixture
def server(scripted: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The shared server; fails the test that leaves an answer running in it, or makes it log an error.

    Connections may stay: some clients keep theirs in a pool that cannot be closed.
    """
    for name, value in {
        "OPENAI_API_KEY": "unused",
        "OPENAI_BASE_URL": f"{scripted.url}/v1",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }.items():
        monkeypatch.setenv(name, value)
    logged = len(scripted.log)
    yield scripted
    assert scripted.process.poll() is None, "the server died:\n" + "".join(scripted.log[-60:])
    scripted.wait_idle(30)
    new = scripted.log[logged:]
    assert not any("Traceback" in line or "connection_failed" in line for line in new), "".join(new)
