"""Says of tokens what they are to the answer: which argument, which end of a count, the name of which tool.

An answer teaches by its first tokens alone where what it copies stood in the question, and by a tool's name alone which
of two tools fits; here each token that matters teaches it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NO_ROLE = -1
"""Of a token of which nothing is to be told."""
NOT_COPIED = 0
"""Of a token of a question that is no part of the answer."""
CONTINUED = 1
"""Of a token of a copied part that is not its first: only the first has to be found, and only there it is told which
part it is."""
FIRST_NUMBER, LAST_NUMBER, REPEATED = 2, 3, 4
TOOL_ROLES = 5
"""From here on, the tools and their arguments have theirs."""


def stands(role: int) -> int:
    """What is told of a token that has the role."""
    return 2 * role


def looks_for(role: int) -> int:
    """What is told of a place before which the token with that role has to be found."""
    return 2 * role + 1


def is_looking(told: int) -> bool:
    """Whether that is told of a place that looks for a token, and not of the token."""
    return told != NO_ROLE and told % 2 == 1


Span = tuple[int, int]
"""Of characters: the first, and the one behind the last."""
Part = tuple[str, int]
"""A text and its role."""


@dataclass(frozen=True, slots=True)
class Definition:
    """Of a tool that a request offers: its name and its parameters' names."""

    name: Part
    parameters: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """Of one question: the parts of it that the answer copies, and which of them the answer begins with."""

    question: str
    parts: tuple[Part, ...]
    begins_with: int
    called: Definition | None = None
    """The tool, where the answer is a call. The parts are then its arguments, in order."""


def marked_prompt(
    text: str, marks: Marks | None, definitions: Sequence[Definition], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[int]]:
    """The tokens of a text up to an answer, and the role of each. It may hold the definitions."""
    spans = list(_defined(text, definitions))
    if marks:
        begins = text.rindex(marks.question)
        spans.append(((begins, begins + len(marks.question)), NOT_COPIED))
        spans += _copied(text, begins, marks.parts)
    ids, roles, _ = _marked(text, spans, tokenizer)
    if marks:
        roles[-1] = looks_for(marks.begins_with)
    return ids, roles


def marked_answer(text: str, marks: Marks | None, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """The tokens of an answer, and the role of each: in a call, that of what it copies stands at the token before.

    There the model has to look for it.
    """
    spans = list(_called(text, marks.called, marks.parts)) if marks and marks.called else []
    ids, roles, firsts = _marked(text, spans, tokenizer)
    for first, (_, role) in zip(firsts, spans, strict=True):
        roles[first - 1 : first + 1] = [looks_for(role), stands(CONTINUED)]
    return ids, roles


def _marked(
    text: str, spans: Iterable[tuple[Span, int]], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[int], list[int]]:
    """Tokens, their roles, and the first token of each span. A span counts over those before it."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets: list[Span] = encoded["offset_mapping"]
    roles = [NO_ROLE] * len(offsets)
    firsts: list[int] = []
    for (first, end), role in spans:
        places = [at for at, (its_first, its_end) in enumerate(offsets) if its_first < end and first < its_end]
        rest = NOT_COPIED if role == NOT_COPIED else CONTINUED
        roles[places[0] : places[-1] + 1] = [stands(role), *(stands(rest) for _ in places[1:])]
        firsts.append(places[0])
    return encoded["input_ids"], roles, firsts


def _defined(text: str, definitions: Sequence[Definition]) -> Iterator[tuple[Span, int]]:
    at = text.find("<tools>")
    for definition in definitions if at >= 0 else ():
        name, role = definition.name
        at = text.index(f'"name": {_json(name)}', at) + len('"name": "')
        yield (at, at + len(name)), role
        for parameter, its_role in definition.parameters:
            at = text.index(f"{_json(parameter)}: {{", at) + 1
            yield (at, at + len(parameter)), its_role


def _copied(text: str, begins: int, parts: Sequence[Part]) -> Iterator[tuple[Span, int]]:
    """Where each part stands. Where two are alike, the first has the first place, as in most questions."""
    taken: list[Span] = []
    for part, role in parts:
        found = [match.span() for match in _pattern(part).finditer(text, begins)]
        free = [span for span in found if not any(_overlap(span, other) for other in taken)]
        if found:
            taken.append((free or found)[0])
            yield taken[-1], role


def _pattern(part: str) -> re.Pattern[str]:
    """7 does not stand in 17."""
    return re.compile(rf"(?<!\d){part}(?!\d)" if part.isdecimal() else re.escape(part))


def _called(text: str, tool: Definition, arguments: Sequence[Part]) -> Iterator[tuple[Span, int]]:
    name, role = tool.name
    at = text.index(f'{{"name": {_json(name)}, "arguments": ') + len('{"name": "')
    yield (at, at + len(name)), role
    at += len(name)
    for (parameter, role), (argument, _) in zip(tool.parameters, arguments, strict=True):
        key = f"{_json(parameter)}: "
        at = text.index(key, at) + len(key)
        begin = at + (text[at] == '"')
        yield (begin, begin + len(argument)), role


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
