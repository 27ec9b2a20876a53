"""What a request asks for, as vLLM's `SamplingParams`. Written for vLLM 0.32."""

from __future__ import annotations

from typing import Any

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from engine.grammar.constraint import Constraint, json_constraint
from engine.grammar.tokenizer import BACKEND
from engine.max_tokens import max_tokens_for
from engine.vllm.errors import refusal
from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.sampling import SamplingFields

# Every field of a request that vLLM's SamplingParams knows under the same name goes through by itself; these have a
# meaning of their own here.
_MAPPED_BY_HAND = {"n", "stop", "max_tokens", "logprobs", "logit_bias"}
_PASSED_THROUGH = tuple(
    sorted((set(SamplingFields.model_fields) & set(SamplingParams.__struct_fields__)) - _MAPPED_BY_HAND)
)


class CheckedSampling(SamplingParams):  # type: ignore[misc]  # vLLM is not typed here
    """Parameters whose grammar `engine.grammar` checks.

    vLLM 0.32 would compile it in this process, without a limit: in `verify`, and once more, in the event loop, when the
    request is added. Test: `tests/live/test_grammar.py`.
    """

    def _validate_structured_outputs(self, model_config: Any, config: Any, tokenizer: Any) -> None:
        if model_config.is_diffusion or tokenizer is None:
            # Refused before vLLM looks at the grammar.
            super()._validate_structured_outputs(model_config, config, tokenizer)


class Sampler:
    """Makes the sampling parameters of requests to one model, and checks them against it."""

    def __init__(self, vllm_config: Any, tokenizer: Any) -> None:
        model_config = vllm_config.model_config
        self._vllm_config = vllm_config
        self._tokenizer = tokenizer
        self._max_model_len: int = model_config.max_model_len
        self._defaults: dict[str, Any] = model_config.get_diff_sampling_param()

    def params(
        self,
        request: ChatCompletionRequest | CompletionRequest,
        constraint: Constraint | None,
        prompt_tokens: int,
        n: int,
        param: str,
    ) -> SamplingParams:
        """The parameters of one prompt of `prompt_tokens` tokens. Raises `TwowireError` (400).

        `param` is the field to name where the prompt leaves no room for an answer.
        """
        max_tokens = max_tokens_for(
            request, prompt_tokens, self._max_model_len, self._defaults.get("max_tokens"), param
        )
        fields = self._defaults | {
            name: value for name in _PASSED_THROUGH if (value := getattr(request, name)) is not None
        }
        fields["max_tokens"] = max_tokens
        if fields.get("top_p") == 0:
            # OpenAI allows it, vLLM does not. The fewest tokens that make up no probability: the likeliest alone.
            fields |= {"temperature": 0.0, "top_p": 1.0}
        # vLLM refuses several greedy choices; OpenAI gives the same one n times. The caller repeats the prompt.
        is_greedy = fields.get("temperature", 1.0) < 1e-5
        top = request.top_logprob_count
        try:
            sampling = CheckedSampling(
                n=1 if is_greedy else n,
                stop=request.stop_strings,
                logit_bias=request.logit_bias_by_id or None,
                logprobs=top,
                prompt_logprobs=top if getattr(request, "echo", False) else None,
                structured_outputs=structured_outputs(constraint),
                output_kind=RequestOutputKind.DELTA,
                skip_clone=False,
                **fields,
            )
            sampling.verify(
                self._vllm_config.model_config,
                self._vllm_config.speculative_config,
                self._vllm_config.structured_outputs_config,
                self._tokenizer,
            )
        except Exception as error:
            raise refusal(error) from error
        return sampling


def constraint_of(request: SamplingFields) -> Constraint | None:
    """What the answer's form is constrained by, as the engine will compile it."""
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    return json_constraint(wanted.json_schema.definition if wanted.json_schema is not None else None)


def structured_outputs(constraint: Constraint | None) -> StructuredOutputsParams | None:
    """vLLM's form of a constraint."""
    if constraint is None:
        return None
    wanted = StructuredOutputsParams(**{constraint.kind: constraint.text or True})
    # Otherwise set by the check that is left out: see `CheckedSampling`.
    wanted._backend = BACKEND
    return wanted
