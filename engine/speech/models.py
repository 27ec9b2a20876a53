"""Tells models of speech from models of text, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import orjson

ARCHITECTURES = frozenset({"WhisperForConditionalGeneration"})
"""Models that write down speech, and do nothing else."""


def is_speech_model(model: str) -> bool:
    """Whether `model` is a folder with a model of speech. Of others, also of the hub's, the engine finds out."""
    try:
        config = orjson.loads((Path(model).expanduser() / "config.json").read_bytes())
    except (OSError, ValueError, RuntimeError):
        return False
    names = config.get("architectures") if isinstance(config, dict) else None
    return isinstance(names, list) and not ARCHITECTURES.isdisjoint(map(str, names))
