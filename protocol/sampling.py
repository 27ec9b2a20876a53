"""The fields that several APIs share: how tokens are chosen, when to stop, what to send back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from protocol.errors import Fault
from protocol.generation import JsonOutput, Sampling, TextOutput
from protocol.json_schema import ResponseFormat
from protocol.validation.request import NO_NUL, ApiRequest, RequestPart, at_most_entries, refusal

MAX_INT32 = 2**31 - 1
MAX_STOP_STRINGS = 16
"""OpenAI takes 4, vLLM any number. Frameworks for local models send six and more."""
MAX_LOGIT_BIAS = 1024
DEFAULT_N = 1

TokenId = Annotated[int, Field(ge=0, le=MAX_INT32)]
StopString = Annotated[str, Field(min_length=1, max_length=1000), NO_NUL]
BadWord = Annotated[str, Field(min_length=1, max_length=100), NO_NUL]
MetadataValue = Annotated[str, Field(max_length=512)]


def _stop_shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None


Stop = Annotated[
    Annotated[StopString, Tag("<text>")]
    | Annotated[list[StopString], Field(max_length=MAX_STOP_STRINGS, fail_fast=True), Tag("<list>")],
    Discriminator(
        _stop_shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string or a list of strings",
    ),
]


def _check_bias(biases: dict[str, float]) -> dict[str, float]:
    for key, bias in biases.items():
        # JSON keys are text. One spelling per id, so that no id is given twice.
        if not (key.isascii() and key.isdecimal()) or len(key) > 10 or (key[0] == "0" and key != "0"):
            raise refusal(Fault.INVALID_VALUE, "must be keyed by token ids: decimal digits, without a sign.", (key,))
        if not -100 <= bias <= 100:
            raise refusal(Fault.INVALID_VALUE, f"must be between -100 and 100, got {bias!r}.", (key,))
    return biases


def _check_metadata(metadata: dict[str, str]) -> dict[str, str]:
    for key in metadata:
        if len(key) > 64:
            raise refusal(Fault.INVALID_VALUE, f"must have keys of at most 64 characters, got {len(key)}.")
    return metadata


Metadata = Annotated[dict[str, MetadataValue], at_most_entries(16), AfterValidator(_check_metadata)]
TopK = Annotated[int | None, Field(ge=-1, le=MAX_INT32, description="Sample from so many tokens; 0 or -1 for all.")]
MinP = Annotated[
    float | None, Field(ge=0, le=1, description="Drop tokens less likely than this fraction of the likeliest.")
]
Seed = Annotated[
    int | None, Field(ge=-(2**63), le=2**63 - 1, description="The same seed gives the same tokens, if it can.")
]


class StreamOptions(RequestPart):
    """What a stream carries beside the text. https://platform.openai.com/docs/api-reference/chat/create"""

    include_usage: bool | None = Field(
        default=None, description="Send one more chunk, with the usage of the whole request, before `[DONE]`."
    )
    include_obfuscation: bool | None = Field(
        default=None, description="Pad each chunk so that its size does not tell the length of its text."
    )


class TokenFields(ApiRequest):
    """How tokens are chosen and when to stop, for all APIs. None: the client left the choice to the server."""

    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Higher is more random; 0 always takes the likeliest token."
    )
    top_p: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Sample from the likeliest tokens that make up this probability; 0 always takes the likeliest.",
    )
    top_k: TopK = None
    min_p: MinP = None
    seed: Seed = None
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Against tokens by how often they occur in the answer."
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Against tokens that occur in the answer at all."
    )
    repetition_penalty: float | None = Field(
        default=None, gt=0, le=10, description="Above 1, against tokens of prompt and answer."
    )
    logit_bias: Annotated[dict[str, float], at_most_entries(MAX_LOGIT_BIAS), AfterValidator(_check_bias)] | None = (
        Field(default=None, description="Token id to a number from -100 to 100, added to its logit.")
    )
    allowed_token_ids: list[TokenId] | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        fail_fast=True,
        description="Sample only from these tokens.",
    )
    bad_words: list[BadWord] | None = Field(
        default=None, max_length=128, fail_fast=True, description="Texts that must not occur in the answer."
    )
    stop: Stop | None = Field(default=None, description="Up to 16 strings that end the answer and are not part of it.")
    stop_token_ids: list[TokenId] | None = Field(
        default=None, max_length=128, fail_fast=True, description="Tokens that end the answer."
    )
    min_tokens: int | None = Field(
        default=None, ge=0, le=MAX_INT32, description="Keep generating until the answer has so many tokens."
    )
    ignore_eos: bool = Field(default=False, description="Keep generating after the model's end-of-sequence token.")
    skip_special_tokens: bool = Field(default=True, description="Leave special tokens out of the text.")

    @property
    def stop_strings(self) -> list[str]:
        """`stop` as a list: empty, or up to 16 non-empty strings."""
        if self.stop is None:
            return []
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def sampling(self) -> Sampling:
        """How the engine is to choose tokens, and when to stop."""
        biases = self.logit_bias
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias={int(key): bias for key, bias in biases.items()} if biases else None,
            allowed_token_ids=self.allowed_token_ids,
            bad_words=self.bad_words,
            stop=self.stop_strings,
            stop_token_ids=self.stop_token_ids,
            max_tokens=self.output_token_limit,
            min_tokens=self.min_tokens,
            ignore_eos=self.ignore_eos,
            skip_special_tokens=self.skip_special_tokens,
            logprobs=self.top_logprob_count,
        )

    @property
    def output_token_limit(self) -> int | None:
        """The maximum tokens of an answer; None for the rest of the context."""
        raise NotImplementedError

    @property
    def top_logprob_count(self) -> int | None:
        """How many candidates to report for each token; None without logprobs."""
        return None

    @model_validator(mode="after")
    def _check_minimum(self) -> TokenFields:
        # vLLM's engine leaves this check to its HTTP layer; without it, it would generate forever.
        limit = self.output_token_limit
        if self.min_tokens is not None and limit is not None and self.min_tokens > limit:
            predicate = f"must be at most the limit of output tokens ({limit}), got {self.min_tokens}."
            raise refusal(Fault.INVALID_VALUE, predicate, ("min_tokens",))
        return self


class SamplingFields(TokenFields):
    """More fields that chat and completions share."""

    n: int | None = Field(default=None, ge=1, le=128, description="How many answers to make; 1 by default.")
    max_tokens: int | None = Field(
        default=None, ge=1, le=MAX_INT32, description="The most tokens that one answer may have."
    )
    response_format: ResponseFormat | None = Field(default=None, description="The form the answer must take.")
    stream_options: StreamOptions | None = Field(default=None, description="Only together with `stream: true`.")
    user: str | None = Field(default=None, description="A name for the end user. Accepted; it changes nothing.")
    metadata: Metadata | None = Field(
        default=None, description="Up to 16 pairs of strings. Accepted; they change nothing."
    )

    @property
    def choice_count(self) -> int:
        """The number of answers per prompt."""
        return DEFAULT_N if self.n is None else self.n

    @property
    def constraint(self) -> JsonOutput | TextOutput | None:
        """The form that the answer must take; None for any text."""
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        schema = wanted.json_schema.definition if wanted.json_schema is not None else None
        return JsonOutput() if schema is None else JsonOutput(schema)

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def include_obfuscation(self) -> bool:
        """Whether chunks are padded, so that their size does not tell the length of their text."""
        return self.stream_options is not None and bool(self.stream_options.include_obfuscation)

    @property
    def output_token_limit(self) -> int | None:
        return self.max_tokens

    @model_validator(mode="after")
    def _check_stream_options(self) -> SamplingFields:
        if self.stream_options is not None and not self.stream:
            raise refusal(Fault.INVALID_VALUE, "is only allowed when stream is true.", ("stream_options",))
        return self
