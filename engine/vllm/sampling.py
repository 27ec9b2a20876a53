"""What a request asks for, as vLLM's `SamplingParams`. Written for vLLM 0.32."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from engine.grammar.constraint import Constraint
from engine.grammar.tokenizer import BACKEND
from engine.requests.max_tokens import max_tokens_for
from engine.vllm.outputs.errors import refusal
from protocol.extras import Extras
from protocol.generation import GenerationRequest, Sampling

_MAPPED_BY_HAND = {"stop", "max_tokens", "logprobs", "logit_bias"}
"""What the client leaves out here is not taken from the model's defaults, or not as it is."""
_PASSED_THROUGH = tuple(field.name for field in fields(Sampling) if field.name not in _MAPPED_BY_HAND)


class CheckedSampling(SamplingParams):  # type: ignore[misc]  # vLLM is not typed here
    """Parameters whose grammar `engine.grammar` checks.

    vLLM 0.32 would compile it in this process, without a limit: in `verify`, and once more, in the event loop, when the
    request is added. Test: `tests/live/real/engine/test_grammar.py`.
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
        request: GenerationRequest,
        constraint: Constraint | None,
        prompt_tokens: int,
        *,
        echo: bool,
        keeps_tags: bool = False,
    ) -> SamplingParams:
        """The parameters of one prompt of `prompt_tokens` tokens. Raises `TwowireError` (400).

        `keeps_tags`: special tokens stay in the text, because tags of calls and thoughts may be some.
        """
        wanted = request.sampling
        default_limit = self._defaults.get("max_tokens")
        max_tokens = max_tokens_for(wanted, prompt_tokens, self._max_model_len, default_limit, request.fields.prompt)
        fields = self._defaults | {
            name: value for name in _PASSED_THROUGH if (value := getattr(wanted, name)) is not None
        }
        fields["max_tokens"] = max_tokens
        if keeps_tags:
            fields["skip_special_tokens"] = False
        if fields.get("top_p") == 0:
            # OpenAI allows it, vLLM does not. The fewest tokens that make up no probability: the likeliest alone.
            fields |= {"temperature": 0.0, "top_p": 1.0}
        # vLLM refuses several greedy choices; OpenAI gives the same one n times. The caller repeats the prompt.
        is_greedy = fields.get("temperature", 1.0) < 1e-5
        try:
            sampling = CheckedSampling(
                n=1 if is_greedy else request.n,
                stop=wanted.stop,
                logit_bias=wanted.logit_bias,
                logprobs=None if wanted.logprob_token_ids else wanted.logprobs,
                prompt_logprobs=_prompt_logprobs(request, echo=echo),
                extra_args=_extra_args(request.extras),
                structured_outputs=structured_outputs(constraint),
                output_kind=RequestOutputKind.DELTA,
                # Made for one request alone, and so copied once less, and not deeply: a third of what it costs vLLM to
                # take a request in. Where a prompt is repeated, each request changes the copy's ids in the same way.
                skip_clone=True,
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


def _prompt_logprobs(request: GenerationRequest, *, echo: bool) -> int | None:
    """How many candidates to report for each token of the prompt."""
    wanted = [request.extras.prompt_logprobs, request.sampling.logprobs if echo else None]
    return max((count for count in wanted if count is not None), default=None)


def _extra_args(extras: Extras) -> dict[str, Any] | None:
    """What vLLM hands to logits processors and to the transfer of the KV cache."""
    if extras.xargs is None and extras.kv_transfer_params is None:
        return None
    extra_args = dict(extras.xargs or {})
    if extras.kv_transfer_params is not None:
        extra_args["kv_transfer_params"] = dict(extras.kv_transfer_params)
    return extra_args


def structured_outputs(constraint: Constraint | None) -> StructuredOutputsParams | None:
    """vLLM's form of a constraint."""
    if constraint is None:
        return None
    wanted = StructuredOutputsParams(**{constraint.kind: constraint.text})
    # Otherwise set by the check that is left out: see `CheckedSampling`.
    wanted._backend = BACKEND
    return wanted
