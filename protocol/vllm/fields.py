"""vLLM's own fields of chats and completions, beyond those that all APIs share (`protocol.vllm.engine_fields`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, model_validator

from protocol.errors import Fault
from protocol.extras import NO_EXTRAS, Extras
from protocol.generation import JsonOutput, Sampling, TextOutput
from protocol.sampling import SamplingFields, TokenId
from protocol.validation.request import is_nested_deeper, refusal
from protocol.vllm.engine_fields import EngineFields
from protocol.vllm.structured_outputs import Choices, Expression, Grammar, Schema, StructuredOutputs, text_output

MAX_PROMPT_LOGPROBS = 20
MAX_LOGPROB_TOKEN_IDS = 128
MAX_TRANSFER_DEPTH = 8
MAX_TRANSFER_BYTES = 64 * 1024


def _check_transfer(params: dict[str, Any]) -> dict[str, Any]:
    if is_nested_deeper(params, MAX_TRANSFER_DEPTH):
        raise refusal(Fault.INVALID_VALUE, f"must be nested at most {MAX_TRANSFER_DEPTH} levels deep.")
    size = len(orjson.dumps(params))
    if size > MAX_TRANSFER_BYTES:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TRANSFER_BYTES} bytes, got {size}.")
    return params


class VllmFields(EngineFields, SamplingFields):
    """Extra fields of vLLM's chats and completions."""

    structured_outputs: StructuredOutputs | None = Field(default=None, description="The form the answer must take.")
    guided_json: Schema | None = Field(default=None, description="The older name of `structured_outputs.json`.")
    guided_regex: Expression | None = Field(default=None, description="The older name of `structured_outputs.regex`.")
    guided_choice: Choices | None = Field(default=None, description="The older name of `structured_outputs.choice`.")
    guided_grammar: Grammar | None = Field(default=None, description="The older name of `structured_outputs.grammar`.")
    guided_json_object: bool = Field(default=False, description="The older name of `structured_outputs.json_object`.")
    include_stop_str_in_output: bool = Field(default=False, description="Keep the stop string that ended the answer.")
    logprob_token_ids: list[TokenId] | None = Field(
        default=None,
        max_length=MAX_LOGPROB_TOKEN_IDS,
        fail_fast=True,
        description="With `logprobs`: report these candidates, in place of the likeliest.",
    )
    prompt_logprobs: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PROMPT_LOGPROBS,
        description="Report the log probabilities of the prompt's tokens, and so many candidates; not in streams.",
    )
    return_token_ids: bool = Field(
        default=False, description="Report the ids of the prompt's tokens and of the answer's."
    )
    return_tokens_as_token_ids: bool = Field(
        default=False, description="In log probabilities, write each token as `token_id:…`."
    )
    truncate_prompt_tokens: int | None = Field(
        default=None,
        ge=-1,
        description="Keep so many tokens of a prompt, its last ones; -1 for as many as fit.",
    )
    truncation_side: Literal["left", "right"] | None = Field(
        default=None, description="Where `truncate_prompt_tokens` drops tokens; `left` by default."
    )
    add_special_tokens: bool | None = Field(
        default=None,
        description="Put the tokenizer's special tokens around the prompt: by default not in chats, whose template has "
        "them, but in completions.",
    )
    kv_transfer_params: Annotated[dict[str, Any], AfterValidator(_check_transfer)] | None = Field(
        default=None, description="Parameters of a KV cache transfer, where the server allows them."
    )

    @property
    def constraint(self) -> JsonOutput | TextOutput | None:
        """The form that the answer must take; None for any text."""
        if self.structured_outputs is not None:
            return self.structured_outputs.constraint
        if self.guided_json is not None:
            return JsonOutput(self.guided_json)
        if self.guided_json_object:
            return JsonOutput()
        return text_output(self.guided_regex, self.guided_choice, self.guided_grammar) or super().constraint

    @property
    def constraint_field(self) -> str | None:
        """The field that the form stands in; None where it is `response_format`'s, or there is none."""
        if self.structured_outputs is not None:
            return f"structured_outputs.{self.structured_outputs.named}"
        return next((name for name in _GUIDED if getattr(self, name)), None)

    @property
    def sampling(self) -> Sampling:
        """How the engine is to choose tokens, and when to stop."""
        sampling = super().sampling
        if not (self.logprob_token_ids or self.include_stop_str_in_output):
            return sampling
        return replace(
            sampling,
            logprob_token_ids=self.logprob_token_ids or None,
            include_stop_str_in_output=self.include_stop_str_in_output,
        )

    @property
    def extras(self) -> Extras:
        """What else is asked of the engine."""
        if not self.model_fields_set & _EXTRA_FIELDS:
            return NO_EXTRAS
        return Extras(
            cache_salt=self.cache_salt,
            priority=self.priority,
            truncate_prompt_tokens=self.truncate_prompt_tokens,
            truncation_side=self.truncation_side or "left",
            add_special_tokens=self.add_special_tokens,
            prompt_logprobs=self.prompt_logprobs,
            return_token_ids=self.return_token_ids,
            tokens_as_ids=self.return_tokens_as_token_ids,
            xargs=self.vllm_xargs or None,
            kv_transfer_params=self.kv_transfer_params or None,
        )

    @model_validator(mode="after")
    def _check_forms(self) -> VllmFields:
        if (field := self.constraint_field) is None:
            return self
        wanted = self.response_format
        others = [name for name in _GUIDED if getattr(self, name)]
        if wanted is not None and wanted.type != "text":
            others.append("response_format")
        if self.structured_outputs is None:
            others.remove(field)
        if others:
            predicate = f"cannot be combined with {others[0]}: an answer has one form."
            raise refusal(Fault.INVALID_VALUE, predicate, (field.partition(".")[0],))
        return self

    @model_validator(mode="after")
    def _check_reports(self) -> VllmFields:
        if self.logprob_token_ids and self.top_logprob_count is None:
            raise refusal(Fault.INVALID_VALUE, "needs logprobs.", ("logprob_token_ids",))
        if self.prompt_logprobs is not None and self.stream:
            raise refusal(Fault.INVALID_VALUE, "is not available in a stream.", ("prompt_logprobs",))
        if self.truncate_prompt_tokens == 0:
            raise refusal(Fault.INVALID_VALUE, "must be -1, or at least 1, got 0.", ("truncate_prompt_tokens",))
        return self


_GUIDED = ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_json_object")
_EXTRA_FIELDS = frozenset(
    {
        "cache_salt",
        "priority",
        "truncate_prompt_tokens",
        "add_special_tokens",
        "prompt_logprobs",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "vllm_xargs",
        "kv_transfer_params",
    }
)
