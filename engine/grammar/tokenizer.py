"""The grammar backend's part of a running engine: which one it is, its options, and the tokenizer in its form.

Does not import vLLM: it is given the engine's own objects.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Literal

from engine.grammar.constraint import BackendSpec

BACKEND: Literal["guidance"] = "guidance"
"""The one that the engine is started with, and the worker knows."""


def backend_spec(structured_outputs: Any, tokenizer: Any, vocab_size: int) -> BackendSpec:
    """What `vllm.v1.structured_output.backend_guidance.GuidanceBackend` would begin with; may take a second.

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
        # Mistral's own has no such form. What a grammar takes to compile hardly depends on the tokens.
        return {"tokenizer": "byte"}
    # `llguidance.hf.from_tokenizer`, which would import transformers into the worker.
    plain = copy(backend)
    plain.no_padding()
    plain.no_truncation()
    return {
        "tokenizer": plain.to_str(),
        "vocab_size": max(vocab_size, len(tokenizer)),
        "eos_token_id": tokenizer.eos_token_id,
    }
