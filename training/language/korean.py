"""Korean particles after any value: 을 or 를, 이 or 가, … by the last sound."""

from __future__ import annotations

PAIRS = {"을": "를", "이": "가", "은": "는", "과": "와", "으로": "로"}
"""The form after a consonant, and that after a vowel."""
HANGUL_FIRST, HANGUL_LAST = "가", "힣"
FINALS = 28
FINAL_RIEUL = 8
# How digits and letters are read ends in a consonant: 영 일 삼 육 칠 팔, 엘 엠 엔 알.
CLOSED_CHARACTERS = frozenset("013678lmnrLMNR")
RIEUL_CHARACTERS = frozenset("178lrLR")


def particle(value: str, form: str) -> str:
    """The form of a particle that fits behind `value`; `form` is the one after a consonant."""
    last = next((character for character in reversed(value) if character.isalnum()), "")
    if HANGUL_FIRST <= last <= HANGUL_LAST:
        final = (ord(last) - ord(HANGUL_FIRST)) % FINALS
        closed, is_rieul = final > 0, final == FINAL_RIEUL
    else:
        closed, is_rieul = last in CLOSED_CHARACTERS, last in RIEUL_CHARACTERS
    if form == "으로" and is_rieul:
        return "로"
    return form if closed else PAIRS[form]
