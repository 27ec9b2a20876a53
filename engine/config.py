"""What the text engine is started with, and what users can set of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from engine.adapters.config import AdapterConfig
from engine.grammar.constraint import CompileLimits
from engine.media.limits import MediaLimits
from engine.option import Option
from engine.ranks.config import RankOptions
from engine.speech.limits import SpeechLimits

GUIDE = Path(__file__).with_name("guide")
"""The folder of the bundled model; `training/` makes it."""


def _check_model(model: str) -> str:
    if not model:
        raise ValueError(f"must not be empty, got {model!r}")
    return model


def _check_template(template: str) -> str:
    if "{{" in template or "{%" in template:
        return template
    try:
        found = Path(template).is_file()
    except OSError:  # Longer than a path may be.
        found = False
    if not found:
        raise ValueError(f"must be a file or the text of a Jinja template, got {template!r}")
    return template


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Options of the engine. Names and meanings are vLLM's.

    A field that has the name of an argument of vLLM's `AsyncEngineArgs` is passed to it, unless it is None.
    """

    model: Annotated[
        str,
        Option(
            "The model to serve: a folder, or a name on the Hugging Face hub.",
            shown="the bundled model",
            metavar="MODEL",
            check=_check_model,
        ),
    ] = str(GUIDE)
    served_model_name: Annotated[
        tuple[str, ...],
        Option(
            "The names by which clients may ask for the model. A response carries the name that its request used.",
            shown="the last part of --model",
            metavar="NAME",
        ),
    ] = ()
    chat_template: Annotated[
        str | None,
        Option(
            "The chat template to use instead of the model's own: a file, or the text of a Jinja template.",
            shown="the model's own",
            metavar="TEMPLATE",
            check=_check_template,
        ),
    ] = None
    allowed_template_kwargs: Annotated[
        tuple[str, ...], Option("The names that a request's chat_template_kwargs may set.", metavar="NAME")
    ] = ("enable_thinking",)
    tool_call_parser: Annotated[
        str,
        Option(
            "How the model writes tool calls, by vLLM's name; auto finds it in the chat template, none leaves them as "
            "text.",
            metavar="NAME",
        ),
    ] = "auto"
    tool_parser_plugin: Annotated[
        str | None,
        Option(
            "A Python file that registers more of vLLM's parsers of tool calls, to be named by --tool-call-parser. It "
            "runs in the server's process.",
            shown="none",
            metavar="FILE",
        ),
    ] = None
    thought_parser: Annotated[
        str,
        Option(
            "How the model writes what it thinks before it answers, by vLLM's name; auto and none as above.",
            name="reasoning_parser",  # The field has another name: vLLM's argument means more.
            metavar="NAME",
        ),
    ] = "auto"
    thought_parser_plugin: Annotated[
        str | None,
        Option(
            "A Python file that registers more of vLLM's parsers of thoughts, to be named by --reasoning-parser; their "
            "tags are read. It runs in the server's process.",
            name="reasoning_parser_plugin",
            shown="none",
            metavar="FILE",
        ),
    ] = None
    max_model_len: Annotated[
        int | None,
        Option("The longest context, prompt and output together, in tokens.", shown="the model's own limit", ge=1),
    ] = None
    max_num_seqs: Annotated[int, Option("How many sequences each copy of the model computes at a time.", ge=1)] = 256
    gpu_memory_utilization: Annotated[
        float | None,
        Option(
            "The share of each GPU's memory that the engine may use, above 0 and up to 1.",
            shown="vLLM's own",
            metavar="SHARE",
            gt=0,
            le=1,
        ),
    ] = None
    tensor_parallel_size: Annotated[int, Option("How many GPUs to split each layer of the model over.", ge=1)] = 1
    dtype: Annotated[
        Literal["auto", "half", "float16", "bfloat16", "float", "float32"],
        Option("The number format to compute in; auto uses the one the model was saved in."),
    ] = "auto"
    enable_prefix_caching: Annotated[
        bool, Option("Keep the KV cache of prompts, and reuse it for prompts that begin the same way.")
    ] = True
    enforce_eager: Annotated[
        bool | None,
        Option(
            "Run the model without compiling it: the server starts sooner but generates more slowly.",
            shown="true on a CPU, vLLM's own on a GPU",
        ),
    ] = None
    cpu_kv_cache_gib: Annotated[
        int, Option("The memory for the KV cache when the model runs on a CPU, in GiB.", ge=1)
    ] = 2
    limit_mm_per_prompt: Annotated[
        Mapping[str, Any] | None,
        Option(
            'How many images and sounds a prompt may have, as a JSON object: {"image":4,"audio":1}.',
            shown="999",
            metavar="JSON",
        ),
    ] = None
    mm_processor_cache_gb: Annotated[
        float,
        Option(
            "The memory, in GiB, for images and sounds that were made ready for the model before: so much in each API "
            "server, and as much in the engine. 0 for none. Of a model that takes any.",
            ge=0,
        ),
    ] = 1.0
    extra: Annotated[
        Mapping[str, Any],
        Option(
            'More arguments for vLLM\'s AsyncEngineArgs as a JSON object, such as {"seed":1}. The server does not '
            "start if vLLM does not know a name.",
            name="engine_args",
            shown="none",
            metavar="JSON",
            is_secret=True,  # It may hold a hub token.
        ),
    ] = field(default_factory=dict, repr=False)
    scheduling_policy: Annotated[
        Literal["fcfs", "priority"],
        Option("In which order requests run: as they come, or by the priority that they ask for, lower first."),
    ] = "fcfs"
    min_priority: Annotated[
        int,
        Option(
            "The most urgent priority that a request may ask for. Lower is more urgent; 0 is that of requests that do "
            "not ask."
        ),
    ] = 0
    allowed_xargs: Annotated[
        tuple[str, ...],
        Option("The names that a request's vllm_xargs may set, for logits processors.", shown="none", metavar="NAME"),
    ] = ()
    allow_kv_transfer_params: Annotated[
        bool,
        Option(
            "Pass kv_transfer_params to the engine. They name other engines to fetch the KV cache from, so every "
            "client must be trusted."
        ),
    ] = False
    grammar: CompileLimits = field(default_factory=CompileLimits)
    media: MediaLimits = field(default_factory=MediaLimits)
    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    speech: SpeechLimits = field(default_factory=SpeechLimits)
    ranks: RankOptions = field(default_factory=RankOptions)

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which the model is served: those that were set, else its folder's or hub's own."""
        return self.served_model_name or (Path(self.model).name,)
