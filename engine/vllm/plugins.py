"""Loads an operator's files that register parsers of tool calls or of thoughts with vLLM."""

from __future__ import annotations

from pathlib import Path

from engine.api import EngineStartError


def load_parsers(path: str | None, option: str) -> None:
    """Run the file, which registers its parsers with one of vLLM's managers. None: nothing to do.

    Raises `EngineStartError`, which names `option`, if that fails.
    """
    if path is None:
        return
    from vllm.utils.import_utils import import_from_path

    if not Path(path).is_file():
        raise EngineStartError(f"{option}: {path!r} is not a file")
    try:
        # vLLM's own function only logs a failure.
        import_from_path(f"parser_plugin_{Path(path).stem}", path)
    except Exception as error:
        raise EngineStartError(f"{option}: {path!r}: {type(error).__name__}: {error}") from error
