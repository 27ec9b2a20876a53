"""Progress bars, as vLLM 0.32 writes them."""

from __future__ import annotations

import pytest

from engine.api import Progress
from engine.startup.progress import progress_in


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00,  9.51it/s]",
            ("loading the model", Progress(1, 2, "files")),
        ),
        (
            "(Worker pid=81) \rLoading safetensors checkpoint shards:   0% Completed | 0/30 [00:00<?, ?it/s]",
            ("loading the model", Progress(0, 30, "files")),
        ),
        (
            "Multi-thread loading shards: 100% Completed | 8/8 [00:02<00:00,  3.1it/s]",
            ("loading the model", Progress(8, 8, "files")),
        ),
        (
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  33%|███▎      | 17/51 [00:01<00:02, 14.0it/s]",
            ("capturing CUDA graphs", Progress(17, 51, "steps")),
        ),
        ("Loading safetensors checkpoint shards:   0% Completed | 0/0 [00:00<?, ?it/s]", None),
        ("WARNING 11-30 12:00:00 [cpu.py:1] Loading the model took 3 s", None),
        ("ValueError: 50% | 1/2 of it", None),
    ],
)
def test_a_line_of_a_bar_is_a_stage_and_its_progress(line: str, found: object) -> None:
    assert progress_in(line) == found
