"""What a model's files say of its vectors. What it computes is held against sentence-transformers in `tests/live`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

from engine.embeddings.models import trained_dimensions  # it needs sentence-transformers

CARD = """---
tags:
- sentence-transformers
- loss:{loss}
---
# A model
It mentions
- loss:MatryoshkaLoss
in its text, too.
"""


@pytest.mark.parametrize(
    ("config", "card", "expected"),
    [
        ({}, None, False),
        ({"is_matryoshka": True}, None, True),
        ({"matryoshka_dimensions": [64, 128]}, None, (64, 128)),
        ({}, CARD.format(loss="MatryoshkaLoss"), True),
        ({}, CARD.format(loss="CosineSimilarityLoss"), False),
        ({}, "no front matter\n- loss:MatryoshkaLoss\n", False),
    ],
)
def test_a_models_files_say_whether_its_vectors_may_be_shortened(
    tmp_path: Path, config: dict[str, Any], card: str | None, expected: object
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, "utf-8")
    assert trained_dimensions(SimpleNamespace(**config), tmp_path) == expected


def test_a_model_of_the_hub_has_no_card_here() -> None:
    assert trained_dimensions(SimpleNamespace(), Path("some-org/some-model")) is False
