"""Slows the real engine down while a test needs an answer that is still coming: a wait after each of its steps.

The engine loads `Brake` in its own process, as a logits processor, and looks into a file for how long to wait. The
tokens stay what they are. Does not know which requests run.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig

FILE = "TEST_BRAKE_FILE"
ENGINE_ARGS = json.dumps({"logits_processors": [f"{__name__}:Brake"]})


class Brake(LogitsProcessor):  # type: ignore[misc]  # vllm is not followed
    """Changes no logit."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._file = Path(os.environ[FILE])

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def is_argmax_invariant(self) -> bool:
        return True

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        with suppress(FileNotFoundError):
            time.sleep(float(self._file.read_text()))


@contextmanager
def braked(file: Path, step_s: float = 0.05) -> Iterator[None]:
    """From now on each step of the engine that was started with this file takes longer by so many seconds."""
    made = file.with_suffix(".new")
    made.write_text(str(step_s))
    made.replace(file)
    try:
        yield
    finally:
        file.unlink()
