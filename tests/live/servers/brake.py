"""Slows the real engine down: a wait after each of its steps, as long as a file says. See `tests.live.servers.held`.

The engine loads `Brake` in its own process, as a logits processor. The tokens stay what they are.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor

from tests.live.servers.held import BRAKE_FILE

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig


class Brake(LogitsProcessor):  # type: ignore[misc]  # vllm is not followed
    """Changes no logit."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._file = Path(os.environ[BRAKE_FILE])

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def is_argmax_invariant(self) -> bool:
        return True

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        with suppress(FileNotFoundError):
            time.sleep(float(self._file.read_text()))
