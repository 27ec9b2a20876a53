"""OpenAI's own OpenAPI document, where it is next to this checkout, and its validator."""

from __future__ import annotations

import functools
import importlib.util
import json
import warnings
from pathlib import Path
from types import ModuleType

VALIDATOR = Path(__file__).resolve().parents[2] / "shared" / "conformance" / "validate.py"
MISSING = "OpenAI's schemas are not beside this checkout (../shared/conformance)"


@functools.cache
def validator() -> ModuleType:
    """The module at `VALIDATOR`, which has to be there."""
    spec = importlib.util.spec_from_file_location("openai_validate", VALIDATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_valid(schema: str, thing: object) -> None:
    """Hold `thing` against a schema of OpenAI's document; where that is missing, a warning says so."""
    if not VALIDATOR.is_file():
        warnings.warn(MISSING, stacklevel=2)
        return
    problems = validator().problems(schema, thing)
    assert problems == [], f"{schema}: {problems}\n{json.dumps(thing, ensure_ascii=False)[:2000]}"
