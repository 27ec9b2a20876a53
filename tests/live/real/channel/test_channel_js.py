"""The browser's client, `static/channel.js`, under Node, against the real server. The tests are in `tests/js`."""

from __future__ import annotations

import pytest

from tests.live.clients.node import node
from tests.live.servers.server import Server


@pytest.mark.slow
def test_the_client_on_the_real_server(server: Server) -> None:
    printed = node("live.test.mjs", env={"CHANNEL_URL": server.url})
    assert "# skipped 3" in printed, "the three tests with a key run elsewhere, and no other is skipped:\n" + printed
