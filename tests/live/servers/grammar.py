"""Asks the real vLLM what `engine.grammar` takes for granted; prints what it found as JSON.

Run by `test_grammar.py` as a program, since importing vLLM changes the process that does it. It starts no engine.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from types import SimpleNamespace
from typing import Any

from transformers import AutoTokenizer
from vllm.sampling_params import SamplingParams, StructuredOutputsParams
from vllm.v1 import structured_output
from vllm.v1.engine import core
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder
from vllm.v1.structured_output.backend_guidance import serialize_guidance_grammar
from vllm.v1.structured_output.request import StructuredOutputRequest, get_structured_output_key

from engine.config import GUIDE
from engine.grammar.backends import guidance_source
from engine.grammar.constraint import Constraint
from engine.vllm.grammars import share_grammars
from engine.vllm.sampling import CheckedSampling, structured_outputs

SCHEMA = '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}'
TAG = {"structures": [{"begin": "<a>", "schema": json.loads(SCHEMA), "end": "</a>"}], "triggers": ["<"]}
CONSTRAINTS = [
    Constraint("json", SCHEMA),
    Constraint("regex", "[a-z]+"),
    Constraint("grammar", "start: /a+/"),
    Constraint("structural_tag", json.dumps(TAG)),
]
GROWING_PATTERNS = [f".{{{i}}}a.{{{1000 - i}}}" for i in range(16)]
GROWING = Constraint("json", json.dumps({"anyOf": [{"type": "string", "pattern": one} for one in GROWING_PATTERNS]}))
"""Compiles, and fails after some forty tokens."""
ENDLESS = Constraint("json", json.dumps({"type": "array", "items": {"type": "integer"}, "minItems": 2**40}))
MODEL: Any = SimpleNamespace(
    is_diffusion=False, max_logprobs=20, get_vocab_size=lambda: 7168, logits_processors=None, hf_config=None
)
CONFIG = SimpleNamespace(
    backend="guidance",
    reasoning_parser="",
    reasoning_parser_plugin="",
    enable_in_reasoning=False,
    disable_any_whitespace=True,
    disable_additional_properties=False,
)


def wire(sampling: SamplingParams) -> dict[str, Any]:
    """What the engine core gets."""
    decoded = MsgpackDecoder(SamplingParams).decode(MsgpackEncoder().encode(sampling))
    assert type(decoded) is SamplingParams
    kind, text = get_structured_output_key(decoded.structured_outputs)
    return {"kind": kind.name.lower(), "text": text, "backend": decoded.structured_outputs._backend}


def manager() -> Any:
    """The engine core's, as it would be made now."""
    model = SimpleNamespace(skip_tokenizer_init=False, get_vocab_size=lambda: 7168)
    return core.StructuredOutputManager(
        SimpleNamespace(
            parallel_config=SimpleNamespace(distributed_executor_backend="mp"),
            scheduler_config=SimpleNamespace(max_num_seqs=2),
            model_config=model,
            structured_outputs_config=CONFIG,
        )
    )


def masks(of: Any, answer: list[int]) -> list[list[str]]:
    """For two requests with one schema: which tokens may come first, and after each of the answer's."""
    sampling = CheckedSampling(structured_outputs=structured_outputs(CONSTRAINTS[0]))
    requests: list[Any] = []
    for _ in range(2):
        wanted = StructuredOutputRequest.from_sampling_params(sampling)
        requests.append(SimpleNamespace(request_id="x", sampling_params=sampling, structured_output_request=wanted))
        of.grammar_init(requests[-1])
    found: list[list[str]] = []
    for request in requests:
        while (grammar := request.structured_output_request.grammar) is None:
            time.sleep(0.01)
        bits = of.backend.allocate_token_bitmask(1)
        found.append([])
        for token in (None, *answer):
            if token is not None:
                assert grammar.accept_tokens("x", [token])
            grammar.fill_bitmask(bits, 0)
            found[-1].append(hashlib.blake2b(bits.numpy().tobytes()).hexdigest())
    of.clear_backend()
    return found


def failing(of: Any, end: int) -> list[bool]:
    """Whether the end is taken for one after each token, until the grammar has failed."""
    sampling = CheckedSampling(structured_outputs=structured_outputs(GROWING))
    wanted = StructuredOutputRequest.from_sampling_params(sampling)
    of.grammar_init(SimpleNamespace(request_id="x", sampling_params=sampling, structured_output_request=wanted))
    while wanted.grammar is None:
        time.sleep(0.01)
    grammar: Any = wanted.grammar
    bits = of.backend.allocate_token_bitmask(1)
    chance = random.Random(0)
    accepted: list[bool] = []
    for _ in range(400):
        grammar.fill_bitmask(bits, 0)
        allowed = [token for token in range(7168) if int(bits[0][token // 32]) >> token % 32 & 1]
        if allowed == [end]:
            return [*accepted, grammar.accept_tokens("x", [end])]
        token = chance.choice([token for token in allowed if token != end])
        accepted.append(grammar.accept_tokens("x", [token]))
    return accepted


def main() -> None:
    """See the module."""
    tokenizer = AutoTokenizer.from_pretrained(GUIDE)
    structured_output.cached_tokenizer_from_config = lambda model_config: tokenizer
    answer = tokenizer.encode('{"a":"yes"}', add_special_tokens=False)
    found: dict[str, Any] = {"wire": [], "same": [], "masks": masks(manager(), answer)}
    share_grammars()
    shared = manager()
    found |= {"shared_masks": masks(shared, answer), "executor": type(shared.executor).__name__}
    found["failing"] = failing(manager(), tokenizer.eos_token_id)
    for constraint in CONSTRAINTS:
        sampling = CheckedSampling(structured_outputs=structured_outputs(constraint), temperature=0.5, max_tokens=7)
        found["wire"].append(wire(sampling))
        kind, text = get_structured_output_key(StructuredOutputsParams(**{constraint.kind: constraint.text}))
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
