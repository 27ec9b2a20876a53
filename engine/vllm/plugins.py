"""Loads an operator's files that register tool call parsers with vLLM."""

from __future__ import annotations

from pathlib import Path

from engine.api import EngineStartError


def load_tool_parsers(path: str | None) -> None:
    """Run the file, which registers its parsers: `ToolParserManager.register_module`. None: nothing to do.

    Raises `EngineStartError` if that fails.
    """
    if path is None:
        return
    from vllm.utils.import_utils import import_from_path

    if not Path(path).is_file():
        raise EngineStartError(f"--tool-parser-plugin: {path!r} is not a file")
    try:
        # vLLM's own function only logs a failure.
        import_from_path(f"tool_parser_plugin_{Path(path).stem}", path)
    except Exception as error:
        raise EngineStartError(f"--tool-parser-plugin: {path!r}: {type(error).__name__}: {error}") from error
