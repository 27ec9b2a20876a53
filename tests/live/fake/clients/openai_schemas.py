"""OpenAI's own document, where it is beside this checkout."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from types import ModuleType

VALIDATOR = Path(__file__).resolve().parents[5] / "shared" / "conformance" / "validate.py"


@functools.cache
def _validator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("openai_validate", VALIDATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_valid(schema: str, thing: object) -> None:
    """Hold `thing` against a schema of OpenAI's document; without the document, nothing is checked."""
    if not VALIDATOR.is_file():
        return
    problems = _validator().problems(schema, thing)
    assert problems == [], f"{schema}: {problems}\n{json.dumps(thing, ensure_ascii=False)[:2000]}"
