"""The grammar backend's part of a running engine: which one it is, its options, and the tokenizer in its form.

Does not import vLLM: it is given the engine's own objects.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Literal

from engine.grammar.constraint import BackendSpec

BACKEND: Literal["guidance"] = "guidance"
"""The one the engine is started with; the worker knows no other."""


def backend_spec(structured_outputs: Any, tokenizer: Any, vocab_size: int) -> BackendSpec:
    """What vLLM's `GuidanceBackend` would be set up with; takes up to a second.

    `structured_outputs` is vLLM's StructuredOutputsConfig.
    """
    return BackendSpec(
        name=BACKEND,
        any_whitespace=not structured_outputs.disable_any_whitespace,
        **_tokenizer(tokenizer, vocab_size),
    )


def _tokenizer(tokenizer: Any, vocab_size: int) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        # Mistral's own has no such form. The cost of compiling hardly depends on the tokens.
        return {"tokenizer": "byte"}
    # As `llguidance.hf.from_tokenizer` does, which would import transformers into the worker.
    plain = copy(backend)
    plain.no_padding()
    plain.no_truncation()
    return {
        "tokenizer": plain.to_str(),
        "vocab_size": max(vocab_size, len(tokenizer)),
        "eos_token_id": tokenizer.eos_token_id,
    }
