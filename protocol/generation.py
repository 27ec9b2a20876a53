"""What the engine is asked to generate, whichever API the client used.

Each API turns its own request into a `GenerationRequest`; the engine sees nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Literal

from protocol.extras import NO_EXTRAS, Extras


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A chat for the model's template.

    `messages` are what chat templates take, oldest first: `role`, `content` (a string), and where they were given
    `name`, `tool_call_id` and `tool_calls`. Where a message holds images or sound, its content is a list of
    parts, each `{"type": "text", "text": …}`, `{"type": "image", "image": ImageSource}` or
    `{"type": "audio", "audio": SoundSource}`.
    """

    messages: list[dict[str, Any]]
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Further arguments for the template; the engine refuses those that the server does not allow."""
    continue_final_message: bool = False
    """Continue the text of the last message instead of starting a new one."""
    add_generation_prompt: bool = True
    """End with the beginning of an answer, unless the last message is continued."""
    has_media: bool = False
    """Some content may be a list of parts; otherwise none is."""


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """One or more prompts that the model reads as they are: each a text or a list of token ids, none empty."""

    prompts: list[str | list[int]]
    echo: bool = False
    """Begin each answer with its prompt."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the engine has found in a recording."""

    language: str
    """The name of the language, in English: that of the speech."""
    spaces_words: bool
    """The text has spaces between its words."""
    duration_s: float
    starts_s: tuple[float, ...]
    """Where each piece begins. The engine writes down all pieces at once: piece `i` is choice `i` of the answer."""
    audio_tokens: int
    """Of the prompt's tokens, those that stand for sound."""


@dataclass(slots=True)
class SpeechPrompt:
    """A recording whose speech the model writes down."""

    file: BinaryIO
    """Sound in any format that can be decoded: an open file, of which there is nothing in memory."""
    task: Literal["transcribe", "translate"]
    language: str | None = None
    """The speech's, as a code of ISO 639-1; None if the model is to find it."""
    text: str = ""
    """What was said before, or words to expect."""
    with_times: bool = False
    """Write tags such as `<|1.20|>`: the time in seconds since the piece began."""
    heard: Heard | None = None
    """Set by the engine once it has prepared the request."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen and when to stop. Names and meanings are vLLM's; None leaves it to the model's defaults."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    stop: list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = None
    """None fills the rest of the context; 0 returns only the echoed prompt."""
    min_tokens: int | None = None
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None
    """How many candidates to report beside each token; None for no log probabilities."""
    logprob_token_ids: list[int] | None = None
    """Report these candidates, in place of the likeliest."""
    include_stop_str_in_output: bool = False


ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The JSON schema where a client gives none."""


@dataclass(frozen=True, slots=True)
class JsonOutput:
    """The answer must be JSON that satisfies `schema`."""

    schema: Mapping[str, Any] = field(default_factory=lambda: ANY_OBJECT)


@dataclass(frozen=True, slots=True)
class TextOutput:
    """The answer must be a text of a form that is not JSON."""

    kind: Literal["regex", "choice", "grammar", "structural_tag"]
    text: str
    """The expression, which holds for the whole answer; a JSON list of choices; a Lark or GBNF grammar; a structural
    tag as JSON."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call."""

    name: str
    description: str | None
    parameters: dict[str, Any]
    """The JSON schema of its arguments, as the client wrote it."""
    followed: dict[str, Any] | None
    """The same for a grammar; None where none can hold it."""
    is_strict: bool = False
    is_custom: bool = False
    """Its one argument, `input`, is text; the API shows the text alone."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may or must call tools, and which; no names for all of them."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: tuple[str, ...] = ()
    is_named: bool = False
    """The client has named the one tool that must be called."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a chat."""

    tools: tuple[Tool, ...]
    choice: ToolChoice = ToolChoice()
    is_parallel: bool = True
    """The model may make several calls in one answer."""

    @property
    def callable(self) -> tuple[Tool, ...]:
        """Those that may be called now."""
        if self.choice.mode == "none":
            return ()
        names = self.choice.names
        return tuple(tool for tool in self.tools if not names or tool.name in names)


@dataclass(frozen=True, slots=True)
class FieldNames:
    """The API's names for the parts of a request that the engine may refuse, for the `param` of its errors."""

    prompt: str = "prompt"
    logprobs: str = "logprobs"
    schema: str = "response_format.json_schema.schema"
    tools: str = "tools"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One request to generate; it makes `n` answers for each of its prompts."""

    prompt: ChatPrompt | TextPrompt | SpeechPrompt
    sampling: Sampling
    n: int = 1
    constraint: JsonOutput | TextOutput | None = None
    tools: Tools | None = None
    """Only of chats, as are the next two."""
    thinks: bool | None = None
    """Whether the model is to think before it answers; None leaves it to the model's default."""
    effort: str | None = None
    """How much it is to think, in OpenAI's words; an argument of the chat template."""
    max_thoughts: int | None = None
    """The most tokens that it may think; None leaves it to the model."""
    must_limit_thoughts: bool = False
    """Refuse the request where `max_thoughts` cannot be held."""
    may_truncate: bool = False
    """The oldest turns of a chat that is too long may be left out."""
    is_streamed: bool = False
    """The answer is sent while it is made. Otherwise it is held in memory until it is complete."""
    fields: FieldNames = FieldNames()
    extras: Extras = NO_EXTRAS
    adapter: str | None = None
    """The adapter to generate with, by its served name; None for the model itself."""

    @property
    def constraint_field(self) -> str:
        """The field that the answer's grammar is made of."""
        return self.fields.tools if self.tools is not None else self.fields.schema

    @property
    def prompt_count(self) -> int:
        """How many prompts there are; a chat is one, and so is a recording before it is prepared."""
        return len(self.prompt.prompts) if isinstance(self.prompt, TextPrompt) else 1


def prompt_only(request: GenerationRequest) -> GenerationRequest:
    """A request that has the prompt of `request` read, with one token of output, and no grammar."""
    extras, tools = request.extras, request.tools
    return replace(
        request,
        # With the model's end ignored, nothing limits its thoughts either: that would take a grammar.
        sampling=Sampling(temperature=0.0, max_tokens=1, ignore_eos=True),
        n=1,
        constraint=None,
        tools=replace(tools, choice=ToolChoice("none")) if tools is not None else None,
        max_thoughts=None,
        must_limit_thoughts=False,
        is_streamed=True,
        extras=extras
        if extras is NO_EXTRAS
        else replace(extras, prompt_logprobs=None, return_token_ids=False, xargs=None, kv_transfer_params=None),
    )
