"""README's blocks and those of the quickstarts work as they stand, against the real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs_blocks.blocks import RUN, marked, run
from tests.live.servers.server import Server


@pytest.mark.parametrize("language", ["bash", "js", "python"])
def test_the_blocks_run(language: str, server: Server, tmp_path: Path) -> None:
    run([block for block in marked(RUN) if block.language == language], server.url, tmp_path)
