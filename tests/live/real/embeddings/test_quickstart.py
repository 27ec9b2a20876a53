"""README's blocks on embeddings, and those of the quickstarts, work as they stand, against the real embedder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs_blocks.blocks import EMBEDDINGS, marked, run
from tests.live.servers.server import Server


@pytest.mark.parametrize("language", ["bash", "python"])
def test_the_blocks_run(language: str, embedder: Server, tmp_path: Path) -> None:
    run([block for block in marked(EMBEDDINGS) if block.language == language], embedder.url, tmp_path)
