"""Reads how far a start is from what the engine's processes write. The lines are those of vLLM 0.32."""

from __future__ import annotations

import re
from typing import Literal

from engine.api import Progress

_BARS: tuple[tuple[re.Pattern[str], str], ...] = (
    # `Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<00:00, …]`
    (re.compile(r"\b[Ll]oading [\w -]{0,60}shards:\s+\d+% Completed \| (\d+)/(\d+) "), "loading the model"),
    # `Capturing CUDA graphs (decode, FULL):  33%|███▎      | 2/6 [00:00<00:01, …]`
    (
        re.compile(r"\bCapturing [\w -]{0,40}CUDA graphs [^:]{0,80}:\s+\d+%\|[^|]{0,80}\| (\d+)/(\d+) "),
        "capturing CUDA graphs",
    ),
)
"""Progress bars, and the stage of each. The groups are what is done and what there is."""


def progress_in(line: str) -> tuple[str, Progress] | None:
    """The stage and the progress that a line tells of, if it is a progress bar."""
    for pattern, stage in _BARS:
        found = pattern.search(line)
        if found is not None and (total := int(found[2])):
            unit: Literal["files", "steps"] = "files" if stage == "loading the model" else "steps"
            return stage, Progress(int(found[1]), total, unit)
    return None
