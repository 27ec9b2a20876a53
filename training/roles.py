"""Says of each token of a question which of a call's arguments it is part of, so that a model can be told as much.

Does not know how questions are made. A call teaches by its arguments' first tokens alone where the arguments stood in
the question; here each token of a question teaches it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from training.tools import Case

NO_ROLE = -1
"""Of a token of which nothing is to be told."""
NO_ARGUMENT = 0
"""Of a token of a question that is part of no argument."""

Span = tuple[int, int]
"""Of characters: the first, and the one behind the last."""


def marked(text: str, case: Case | None, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """The tokens of a text that has the case's question or its call in it, and the role of each token.

    In a question, the tokens of an argument have the argument's role. In a call, the token before each argument has it:
    that is where the argument must be looked for.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    roles = [NO_ROLE] * len(ids)
    if case is None:
        return ids, roles
    spans: list[Span] = encoded["offset_mapping"]
    begins = text.rfind(case.question)
    if begins >= 0:
        question = (begins, begins + len(case.question))
        arguments = dict(zip(case.roles, _arguments(text, question, case), strict=True))
        for at, span in enumerate(spans):
            if _overlap(span, question):
                own = (role for role, argument in arguments.items() if _overlap(span, argument))
                roles[at] = next(own, NO_ARGUMENT)
    else:
        for role, begin in zip(case.roles, _argument_begins(text, case), strict=True):
            first = next(at for at, span in enumerate(spans) if span[1] > begin)
            roles[first - 1] = role
    return ids, roles


def _arguments(text: str, question: Span, case: Case) -> Iterator[Span]:
    """Where each argument stands. Where two are alike, the first has the first place, as in most questions."""
    taken: list[Span] = []
    for argument in map(str, case.arguments.values()):
        begin = text.find(argument, question[0])
        while any(_overlap((begin, begin + len(argument)), other) for other in taken):
            further = text.find(argument, begin + 1)
            if further < 0:
                break
            begin = further
        taken.append((begin, begin + len(argument)))
        yield taken[-1]


def _argument_begins(text: str, case: Case) -> Iterator[int]:
    at = text.index('"arguments": ')
    for name, argument in case.arguments.items():
        key = f"{json.dumps(name, ensure_ascii=False)}: "
        at = text.index(key, at) + len(key)
        yield at + isinstance(argument, str)


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
