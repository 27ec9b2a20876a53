"""Asks the real vLLM what `engine.grammar` takes for granted; prints what it found as JSON.

Run by `test_grammar.py` as a program, since importing vLLM changes the process that does it. It starts no engine.
"""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder
from vllm.v1.structured_output.backend_guidance import serialize_guidance_grammar
from vllm.v1.structured_output.request import get_structured_output_key

from engine.grammar.backends import guidance_source
from engine.grammar.constraint import Constraint
from engine.vllm_engine import CheckedSampling, structured_outputs

SCHEMA = '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}'
TAG = {"structures": [{"begin": "<a>", "schema": json.loads(SCHEMA), "end": "</a>"}], "triggers": ["<"]}
CONSTRAINTS = [
    Constraint("json", SCHEMA),
    Constraint("json_object", ""),
    Constraint("regex", "[a-z]+"),
    Constraint("grammar", "start: /a+/"),
    Constraint("structural_tag", json.dumps(TAG)),
]
ENDLESS = Constraint("json", json.dumps({"type": "array", "items": {"type": "integer"}, "minItems": 2**40}))
MODEL: Any = SimpleNamespace(
    is_diffusion=False, max_logprobs=20, get_vocab_size=lambda: 7168, logits_processors=None, hf_config=None
)
CONFIG = SimpleNamespace(backend="guidance", reasoning_parser="", disable_any_whitespace=True)


def wire(sampling: SamplingParams) -> dict[str, Any]:
    """What the engine core gets."""
    decoded = MsgpackDecoder(SamplingParams).decode(MsgpackEncoder().encode(sampling))
    assert type(decoded) is SamplingParams
    kind, text = get_structured_output_key(decoded.structured_outputs)
    return {"kind": kind.name.lower(), "text": text, "backend": decoded.structured_outputs._backend}


def main() -> None:
    """See the module."""
    found: dict[str, Any] = {"wire": [], "same": []}
    for constraint in CONSTRAINTS:
        sampling = CheckedSampling(structured_outputs=structured_outputs(constraint), temperature=0.5, max_tokens=7)
        found["wire"].append(wire(sampling))
        kind, text = get_structured_output_key(StructuredOutputsParams(**{constraint.kind: constraint.text or True}))
        for whitespace in (False, True):
            theirs = serialize_guidance_grammar(kind, text, disable_any_whitespace=not whitespace)
            ours = guidance_source(constraint.kind, constraint.text, any_whitespace=whitespace)
            found["same"].append(ours == theirs)
    began = time.process_time()
    sampling = CheckedSampling(structured_outputs=structured_outputs(ENDLESS), max_tokens=7)
    sampling.verify(MODEL, None, CONFIG, object())
    found["verify_s"] = time.process_time() - began
    print(json.dumps(found))


if __name__ == "__main__":
    main()
