"""How a model writes tool calls and thoughts: found from its chat template, or named by the operator.

The usual formats of calls, and all thoughts between tags, are parsed by `engine.parsing`; other formats of calls by
vLLM's parsers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.api import EngineStartError
from engine.grammar.constraint import Constraint, json_constraint
from engine.parsing.after_thoughts import AfterThoughts
from engine.parsing.argument_types import argument_types
from engine.parsing.formats import CALL_FORMATS, THINK, CallFormat
from engine.parsing.grammar import GrammarWriter
from engine.parsing.json_calls import JsonCallsParser
from engine.parsing.parts import MAX_CALLS, TextParser
from engine.parsing.tagged import TaggedParser, Tags
from engine.vllm.parsed_stream import Parsing
from engine.vllm.parser import VllmTextParser, vllm_tools
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, Tools

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

SWITCHES = ("enable_thinking", "thinking")
"""Arguments of chat templates that turn thoughts on and off."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """One model's format. Its names are vLLM's; None where calls, or thoughts, are not told apart from text."""

    calls: str | None
    thoughts: str | None
    tags: Tags
    token_ids: Mapping[str, int]
    tokenizer: Any
    parser: Any = None
    """vLLM's class, where it parses the calls."""
    switch: str | None = None
    thinks_by_default: bool = False
    knows_developers: bool = True
    """The template has a place for messages of the role `developer`."""

    @property
    def is_own(self) -> bool:
        """A grammar can hold calls in the model's own form."""
        return self.call_format is not None and self.call_format.is_json

    @property
    def call_format(self) -> CallFormat | None:
        """How calls are parsed here; None where vLLM does it, or nobody."""
        return CALL_FORMATS.get(self.calls or "")

    # -- the prompt ---------------------------------------------------------------------------------------------

    def messages(self, chat: ChatPrompt) -> list[dict[str, Any]]:
        """The messages for the template. Most templates leave out a role that they do not know, in silence."""
        if self.knows_developers or all(message["role"] != "developer" for message in chat.messages):
            return chat.messages
        return [
            message | {"role": "system"} if message["role"] == "developer" else message for message in chat.messages
        ]

    @property
    def allowed_kwargs(self) -> tuple[str, ...]:
        """Arguments of the chat template that any client may set."""
        return () if self.thoughts is None else (*SWITCHES, "reasoning_effort")

    def template_kwargs(self, request: GenerationRequest) -> dict[str, Any]:
        """What the chat template is given for the tools and the thoughts."""
        kwargs: dict[str, Any] = {}
        if request.tools is not None:
            kwargs["tools"] = [_declaration(tool) for tool in request.tools.tools]
        if request.effort is not None and self.thoughts is not None:
            kwargs["reasoning_effort"] = request.effort
        if self.switch is not None:
            kwargs[self.switch] = self._wants_thoughts(request)
        return kwargs

    def _wants_thoughts(self, request: GenerationRequest) -> bool:
        return self.thinks_by_default if request.thinks is None else request.thinks

    # -- the answer ---------------------------------------------------------------------------------------------

    def check(self, request: GenerationRequest) -> None:
        """Raise `TwowireError` where the request wants of the format what it has not."""
        if request.tools is not None and self.calls is None:
            message = "This model's format of tool calls is not known; the server's --tool-call-parser can name it."
            raise TwowireError(Fault.UNSUPPORTED_FIELD, message, param="tools")

    def answer(self, request: GenerationRequest, prompt_ids: list[int]) -> Answer:
        """How the answer to a prompt is constrained and parsed."""
        is_thinking = self.thoughts is not None and self._is_thinking(prompt_ids)
        thinks = is_thinking or (self.thoughts is not None and self._may_think(request))
        tools = request.tools
        if tools is not None and not tools.callable:
            tools = None
        constraint = self._constraint(request, tools, thinks=thinks, is_thinking=is_thinking)
        tagged = partial(TaggedParser, self.tags, thinks=thinks, is_thinking=is_thinking)
        if tools is None:
            return Answer(constraint, Parsing(partial(tagged, calls=False)) if thinks else None)
        new: Callable[[], TextParser]
        if tools.choice.mode == "required" and not self.is_own:
            new = _behind(JsonCallsParser, tagged, thinks=thinks)
        elif (call_format := self.call_format) is not None:
            types = {tool.name: argument_types(tool.parameters) for tool in tools.tools}
            limit = MAX_CALLS if tools.is_parallel else 1
            new = partial(tagged, new_call=partial(call_format.new_call, types), max_calls=limit)
        else:
            new = _behind(self._foreign_parser(tools, prompt_ids), tagged, thinks=thinks)
        custom = frozenset(tool.name for tool in tools.tools if tool.is_custom)
        return Answer(constraint, Parsing(new, is_named=tools.choice.is_named, custom_tools=custom))

    def _may_think(self, request: GenerationRequest) -> bool:
        # Without a switch the model decides.
        return self.switch is None or self._wants_thoughts(request)

    def _foreign_parser(self, tools: Tools, prompt_ids: list[int]) -> Callable[[], TextParser]:
        """What makes a parser of calls in a format that is not parsed here."""
        declared = vllm_tools(tools)
        return lambda: VllmTextParser(
            self.parser(self.tokenizer, declared), declared, prompt_ids, parallel=tools.is_parallel
        )

    def _is_thinking(self, prompt_ids: list[int]) -> bool:
        """The prompt ends within thoughts. Its last tokens alone count: earlier tags are the chat's."""
        tail, (opening, closing) = prompt_ids[-TAIL_TOKENS:], self.tags.think
        if opening in self.token_ids and closing in self.token_ids:
            tags = (self.token_ids[opening], self.token_ids[closing])
            return next((token == tags[0] for token in reversed(tail) if token in tags), False)
        text = self.tokenizer.decode(tail, skip_special_tokens=False)
        return bool(text.rfind(opening) > text.rfind(closing))

    def _constraint(
        self, request: GenerationRequest, tools: Tools | None, *, thinks: bool, is_thinking: bool
    ) -> Constraint | None:
        output = request.constraint
        writer = GrammarWriter(self.tags, self.token_ids, thinks=thinks, is_thinking=is_thinking)
        if tools is not None and tools.choice.mode == "required":
            return Constraint("grammar", writer.calls(tools) if self.is_own else writer.call_list(tools))
        if tools is not None and self.is_own and output is not None:
            return Constraint("grammar", writer.calls_or_json(tools, output.schema))
        if tools is not None and self.is_own and _binds(tools):
            return Constraint("grammar", writer.calls_or_text(tools))
        if output is None:
            return None
        return Constraint("grammar", writer.json(output.schema)) if thinks else json_constraint(output.schema)


def _behind(
    content: Callable[[], TextParser], tagged: Callable[..., TextParser], *, thinks: bool
) -> Callable[[], TextParser]:
    """What makes the parser of an answer whose content is parsed by `content`."""
    return (lambda: AfterThoughts(tagged(calls=False), content())) if thinks else content


TAIL_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """How an answer is constrained, and how it is parsed; None for text as it comes."""

    constraint: Constraint | None
    parsing: Parsing | None


def _binds(tools: Tools) -> bool:
    return not tools.is_parallel or any(tool.is_strict for tool in tools.callable)


def _declaration(tool: Any) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


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
    if named_thoughts is not None and named_thoughts not in THOUGHTS:
        known = ", ".join(sorted(THOUGHTS))
        raise EngineStartError(f"--reasoning-parser {named_thoughts} is not known; choose of: {known}, none.")
    think = THOUGHTS.get(named_thoughts or "", THINK)
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
        knows_developers="developer" in text,
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
