"""What several tests of the engine share."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from engine.config import GUIDE


@pytest.fixture(scope="package")
def tokenizer() -> Any:
    """The guide's, of `transformers`."""
    return AutoTokenizer.from_pretrained(GUIDE)
