"""Finds how a model writes tool calls and thoughts: in its chat template, or as the operator names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.api import EngineStartError
from engine.parsing.formats import CALL_FORMATS, THINK
from engine.parsing.tagged import Tags
from engine.vllm.formats.output_format import SWITCHES, OutputFormat
from engine.vllm.formats.system_messages import find_system_place

AUTO, NONE = "auto", "none"

_THINK_FORMATS = (
    *("qwen3", "deepseek_r1", "deepseek_v3", "deepseek_v4", "glm45", "glm47", "kimi_k2", "minimax_m2", "nemotron_v3"),
    *("mimo", "step3", "step3p5", "ernie45", "plamo3", "ling3", "olmo3", "hunyuan_a13b", "minicpmv"),
)
THOUGHTS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(_THINK_FORMATS, THINK),
    "seed_oss": ("<seed:think>", "</seed:think>"),
    "mistral": ("[THINK]", "[/THINK]"),
}
"""vLLM's names for formats of thoughts, and their tags."""

SIGNS: tuple[tuple[str, str], ...] = (
    ("<｜DSML｜tool_calls", "deepseek_v4"),
    ("<｜DSML｜", "deepseek_v32"),
    ("<｜tool▁calls▁begin｜>", "deepseek_v31"),
    ("<|tool_calls_section_begin|>", "kimi_k2"),
    ("<minimax:tool_call>", "minimax_m2"),
    ("<seed:tool_call>", "seed_oss"),
    ("<longcat_tool_call>", "longcat"),
    ("<arg_key>", "glm45"),
    ("<function=", "qwen3_coder"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|tool_call>", "gemma4"),
    ("<|tool_call|>", "granite"),
    ("<|python_tag|>", "llama3_json"),
    ("<tool_call>", "hermes"),
)
"""What stands in the chat template of a model, and the format of calls that this means. The first that is found."""

HARMONY = ("<|start|>", "<|channel|>")
"""In the chat template of gpt-oss. What its tags mean goes beyond calls and thoughts."""


def find_format(template: str | None, tokenizer: Any, calls: str, thoughts: str, model: str) -> OutputFormat:
    """The format of a model with this chat template. `calls`, `thoughts`: vLLM's names, `auto` or `none`.

    Raises `EngineStartError` for a name that cannot be used with this tokenizer.
    """
    text = template or ""
    if calls == "openai" or (AUTO in (calls, thoughts) and all(tag in text for tag in HARMONY)):
        raise EngineStartError(
            "gpt-oss writes its answers in Harmony's channels, which this server does not read; with "
            "--tool-call-parser none and --reasoning-parser none it is served, and answers contain the channels."
        )
    named_calls = _found(text) if calls == AUTO else None if calls == NONE else calls
    named_thoughts = _thoughts_of(text) if thoughts == AUTO else None if thoughts == NONE else thoughts
    think = THINK if named_thoughts is None else THOUGHTS.get(named_thoughts) or _vllm_tags(named_thoughts, tokenizer)
    parser = None
    if (known_calls := CALL_FORMATS.get(named_calls or "")) is not None:
        tags = known_calls.tags(think)
    else:
        tags = Tags(think)
        if named_calls is not None:
            parser = _vllm_parser(named_calls, tokenizer, model, is_asked=calls != AUTO)
            named_calls = None if parser is None else named_calls
    found = OutputFormat(
        *(named_calls, named_thoughts, tags, tokenizer.get_added_vocab(), tokenizer, parser),
        knows_efforts="reasoning_effort" in text,
        knows_developers="developer" in text,
        system_place=find_system_place(tokenizer, text) if text else "anywhere",
    )
    if named_thoughts is None:
        return found
    switch = next((name for name in SWITCHES if name in text), None)
    return replace(found, switch=switch, thinks_by_default=switch is not None and _thinks(tokenizer, text, switch))


def _found(template: str) -> str | None:
    found = next((name for sign, name in SIGNS if sign in template), None)
    # Of DeepSeek's older form there are two; V3 and R1 put arguments into backticks.
    return "deepseek_v3" if found == "deepseek_v31" and "```json" in template else found


def _thoughts_of(template: str) -> str | None:
    for name in ("seed_oss", "mistral"):
        if THOUGHTS[name][0] in template:
            return name
    return "qwen3" if THINK[0] in template or THINK[1] in template else None


def _vllm_parser(name: str, tokenizer: Any, model: str, *, is_asked: bool) -> Any:
    from vllm.parser import ParserManager

    try:
        return ParserManager.get_parser(
            tool_parser_name=name, enable_auto_tools=True, model_name=model, tokenizer=tokenizer
        )
    except (TypeError, ImportError) as error:
        if is_asked:
            raise EngineStartError(str(error).splitlines()[0]) from error
        return None


def _vllm_tags(name: str, tokenizer: Any) -> tuple[str, str]:
    """The tags of a parser of thoughts that a plugin has registered, or vLLM itself. Raises `EngineStartError`."""
    from vllm.reasoning import ReasoningParserManager

    try:
        parser = ReasoningParserManager.get_reasoning_parser(name)(tokenizer)
    except KeyError:
        known = ", ".join(sorted(THOUGHTS))
        raise EngineStartError(f"--reasoning-parser {name} is not known; choose of: {known}, none.") from None
    except Exception as error:
        raise EngineStartError(f"--reasoning-parser {name}: {error}") from error
    opening, closing = parser.reasoning_start_str, parser.reasoning_end_str
    if not opening or not closing:
        raise EngineStartError(f"--reasoning-parser {name}: thoughts are read here only where they have two tags.")
    return opening, closing


def _thinks(tokenizer: Any, template: str, switch: str) -> bool:
    """Whether the template without its switch renders as with the switch on."""
    chat = [{"role": "user", "content": "Hello"}]

    def rendered(**kwargs: Any) -> str:
        text: str = tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=False, add_generation_prompt=True, **kwargs
        )
        return text

    try:
        return rendered() == rendered(**{switch: True}) != rendered(**{switch: False})
    except Exception:  # The template may want more than this; then nothing is known.
        return False
