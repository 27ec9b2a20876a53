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
            "The model to serve: a folder, or a name on the Hugging Face Hub.",
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
        tuple[str, ...], Option("The names that requests may set in chat_template_kwargs.", metavar="NAME")
    ] = ("enable_thinking",)
    tool_call_parser: Annotated[
        str,
        Option(
            "The format of the model's tool calls, by the name of vLLM's parser. auto detects it from the chat "
            "template; none leaves tool calls as text.",
            metavar="NAME",
        ),
    ] = "auto"
    tool_parser_plugin: Annotated[
        str | None,
        Option(
            "A Python file that registers further tool call parsers, as vLLM's plugins do, for --tool-call-parser. It "
            "runs in the server's process.",
            shown="none",
            metavar="FILE",
        ),
    ] = None
    thought_parser: Annotated[
        str,
        Option(
            "The format of the model's reasoning, by the name of vLLM's parser; auto and none as for "
            "--tool-call-parser.",
            name="reasoning_parser",  # The field has another name: vLLM's argument means more.
            metavar="NAME",
        ),
    ] = "auto"
    thought_parser_plugin: Annotated[
        str | None,
        Option(
            "A Python file that registers further reasoning parsers, as vLLM's plugins do, for --reasoning-parser; "
            "only their tags are used. It runs in the server's process.",
            name="reasoning_parser_plugin",
            shown="none",
            metavar="FILE",
        ),
    ] = None
    max_model_len: Annotated[
        int | None,
        Option(
            "The maximum context length in tokens, prompt and output together.", shown="the model's own limit", ge=1
        ),
    ] = None
    max_num_seqs: Annotated[
        int, Option("The maximum number of sequences that each copy of the model computes at a time.", ge=1)
    ] = 256
    gpu_memory_utilization: Annotated[
        float | None,
        Option(
            "The fraction of each GPU's memory that the engine may use, above 0 and up to 1.",
            shown="vLLM's own",
            metavar="SHARE",
            gt=0,
            le=1,
        ),
    ] = None
    tensor_parallel_size: Annotated[int, Option("The number of GPUs to split each layer of the model over.", ge=1)] = 1
    dtype: Annotated[
        Literal["auto", "half", "float16", "bfloat16", "float", "float32"],
        Option("The number format to compute in; auto uses the one in which the model was saved."),
    ] = "auto"
    enable_prefix_caching: Annotated[
        bool, Option("Keep the KV cache of prompts, and reuse it for prompts that begin the same way.")
    ] = True
    enforce_eager: Annotated[
        bool | None,
        Option(
            "Run the model without compiling it: the server starts faster but generates more slowly.",
            shown="true on a CPU, vLLM's own on a GPU",
        ),
    ] = None
    cpu_kv_cache_gib: Annotated[
        int, Option("The memory for the KV cache in GiB, when the model runs on a CPU.", ge=1)
    ] = 2
    limit_mm_per_prompt: Annotated[
        Mapping[str, Any] | None,
        Option(
            'The maximum number of images and sounds per prompt, as a JSON object: {"image":4,"audio":1}.',
            shown="999",
            metavar="JSON",
        ),
    ] = None
    mm_processor_cache_gb: Annotated[
        float,
        Option(
            "The memory in GiB for caching preprocessed images and sounds, in each API server and again in the "
            "engine; 0 for no cache. Only for models that take them.",
            ge=0,
        ),
    ] = 1.0
    extra: Annotated[
        Mapping[str, Any],
        Option(
            'More arguments for vLLM\'s AsyncEngineArgs, as a JSON object such as {"seed":1}. A name that vLLM does '
            "not know stops the start.",
            name="engine_args",
            shown="none",
            metavar="JSON",
            is_secret=True,  # It may hold a hub token.
        ),
    ] = field(default_factory=dict, repr=False)
    scheduling_policy: Annotated[
        Literal["fcfs", "priority"],
        Option(
            "The order in which requests run: first come, first served (fcfs), or by each request's priority, lowest "
            "first."
        ),
    ] = "fcfs"
    min_priority: Annotated[
        int,
        Option(
            "The most urgent priority that a request may have. Lower is more urgent; a request without a priority has "
            "0."
        ),
    ] = 0
    allowed_xargs: Annotated[
        tuple[str, ...],
        Option("The names that requests may set in vllm_xargs, for logits processors.", shown="none", metavar="NAME"),
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
