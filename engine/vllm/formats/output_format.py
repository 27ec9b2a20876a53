"""How a model writes tool calls and thoughts, and what that means for its prompts and answers.

The usual formats of calls, and all thoughts between tags, are parsed by `engine.parsing`; other formats of calls by
vLLM's parsers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.grammar.constraint import Constraint, constraint_of, json_constraint
from engine.parsing.after_thoughts import AfterThoughts
from engine.parsing.argument_types import argument_types
from engine.parsing.calls.json_calls import JsonCallsParser
from engine.parsing.calls.shape import MISTRAL, CallShape
from engine.parsing.formats import CALL_FORMATS, CallFormat
from engine.parsing.grammar import GrammarWriter, can_limit
from engine.parsing.parts import MAX_CALLS, TextParser
from engine.parsing.tagged import TaggedParser, Tags
from engine.vllm.formats.parsed_stream import Parsing
from engine.vllm.formats.parser import VllmTextParser, vllm_tools
from engine.vllm.formats.system_messages import SystemPlace, placed
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, JsonOutput, TextOutput, Tools

SWITCHES = ("enable_thinking", "thinking")
"""Arguments of chat templates that turn thoughts on and off."""


THOUGHTS_BY_EFFORT: Mapping[str, int] = {"minimal": 256, "low": 1024}
"""The most tokens of thoughts for a `reasoning_effort` that the chat template does not use."""


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
    knows_efforts: bool = False
    """The template is told how much the model is to think, and uses it."""
    knows_developers: bool = True
    """The template has a place for messages of the role `developer`."""
    system_place: SystemPlace = "anywhere"

    @property
    def shape(self) -> CallShape | None:
        """How a grammar holds calls in the model's own form; None where it cannot."""
        shape = None if self.call_format is None else self.call_format.shape
        # Mistral's older models write calls in another form, and their tokenizers do not know this tag.
        return None if shape is MISTRAL and "[ARGS]" not in self.token_ids else shape

    @property
    def call_format(self) -> CallFormat | None:
        """How calls are parsed here; None where vLLM does it, or nobody."""
        return CALL_FORMATS.get(self.calls or "")

    # -- the prompt ---------------------------------------------------------------------------------------------

    def messages(self, chat: ChatPrompt) -> list[dict[str, Any]]:
        """The messages for the template. Most templates leave out a role that they do not know, in silence."""
        messages = chat.messages
        if not self.knows_developers and any(message["role"] == "developer" for message in messages):
            messages = [
                message | {"role": "system"} if message["role"] == "developer" else message for message in messages
            ]
        return placed(messages, self.system_place)

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
        if request.must_limit_thoughts and self.thoughts is not None and not can_limit(self.tags, self.token_ids):
            message = "This model's reasoning cannot be limited: its tags are not single tokens."
            raise TwowireError(Fault.UNSUPPORTED_FIELD, message, param="thinking_token_budget")

    def answer(self, request: GenerationRequest, prompt_ids: list[int]) -> Answer:
        """How the answer to a prompt is constrained and parsed."""
        is_thinking = self.thoughts is not None and self._is_thinking(prompt_ids)
        thinks = is_thinking or (self.thoughts is not None and self._may_think(request))
        tools = request.tools
        if tools is not None and not tools.callable:
            tools = None
        constraint = self._constraint(request, tools, thinks=thinks, is_thinking=is_thinking)
        tagged = partial(TaggedParser, self.tags, thinks=thinks, is_thinking=is_thinking)
        is_json = request.constraint is not None and tools is not None and tools.choice.mode != "required"
        if tools is None or (is_json and not self._calls_or_json):
            return Answer(constraint, Parsing(partial(tagged, calls=False)) if thinks else None)
        new: Callable[[], TextParser]
        if tools.choice.mode == "required" and self.shape is None:
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

    def text_constraint(self, wanted: JsonOutput | TextOutput | None) -> Constraint | None:
        """How the answer to a prompt that is no chat is constrained."""
        if wanted is None:
            return None
        if isinstance(wanted, JsonOutput) or wanted.kind != "structural_tag":
            return constraint_of(wanted)
        writer = GrammarWriter(self.tags, self.token_ids, thinks=False, is_thinking=False)
        return Constraint("grammar", writer.form(wanted))

    def _constraint(
        self, request: GenerationRequest, tools: Tools | None, *, thinks: bool, is_thinking: bool
    ) -> Constraint | None:
        output, limit = request.constraint, self._max_thoughts(request) if thinks else None
        writer = GrammarWriter(
            *(self.tags, self.token_ids),
            thinks=thinks,
            is_thinking=is_thinking,
            max_thoughts=limit,
            shape=self.shape,
        )
        if isinstance(output, TextOutput):
            if output.kind != "structural_tag" and not thinks:
                return constraint_of(output)
            if output.kind == "grammar":
                message = f"{request.fields.schema} cannot be combined with thinking; send reasoning_effort: none."
                raise TwowireError(Fault.INVALID_VALUE, message, param=request.fields.schema)
            return Constraint("grammar", writer.form(output))
        if tools is not None and tools.choice.mode == "required":
            return Constraint("grammar", writer.call_list(tools) if self.shape is None else writer.calls(tools))
        if tools is not None and output is not None and self._calls_or_json:
            return Constraint("grammar", writer.calls_or_json(tools, output.schema))
        if tools is not None and output is None and self.shape is not None and _binds(tools):
            return Constraint("grammar", writer.calls_or_text(tools))
        if output is not None:
            return Constraint("grammar", writer.json(output.schema)) if thinks else json_constraint(output.schema)
        return None if limit is None else Constraint("grammar", writer.text())

    @property
    def _calls_or_json(self) -> bool:
        """Whether an answer may be either: where calls have no tag, JSON could be taken for one."""
        return self.shape is not None and not self.shape.is_bare

    def _max_thoughts(self, request: GenerationRequest) -> int | None:
        """How many tokens the thoughts may have; None for any number."""
        if not can_limit(self.tags, self.token_ids):
            return None
        if request.max_thoughts is not None:
            return request.max_thoughts
        sampling = request.sampling
        if self.knows_efforts or sampling.ignore_eos or sampling.allowed_token_ids:
            # The last two could leave no token that the grammar allows.
            return None
        return THOUGHTS_BY_EFFORT.get(request.effort or "")


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
