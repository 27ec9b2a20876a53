"""How much a regular expression's counted repeats multiply: what decides whether a grammar can be compiled from it.

Does not know what the expression matches, nor whether it is a valid one.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d{1,9})(?:(,)(\d{0,9}))?\}|.", re.DOTALL)


def nested_repeats(pattern: str) -> int:
    """The largest product of counted repeats that stand inside each other: 6 for `(a{2}b){3}`, 1 where none is.

    A repeat without an upper bound counts by its lower one; `*`, `+` and `?` do not count.
    """
    groups = [1]
    last = 1
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if text == "(":
            groups.append(1)
            last = 1
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] = max(groups[-1], last)
        elif token.group(1) is not None:
            last *= max(int(token.group(3) or token.group(1)), 1)
            groups[-1] = max(groups[-1], last)
        elif text not in "*+?":
            last = 1
    return max(groups)
