"""What the tests of the guide share."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import GUIDE


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    return transformers.AutoTokenizer.from_pretrained(GUIDE)
