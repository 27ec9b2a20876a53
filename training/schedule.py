"""How long the guide is trained, and at which rates."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 4500
PRACTICE_STEPS = 200
RISE_STEPS = 20
FALL_SHARE = 0.85
"""The last part of the steps, in which the rates fall to nothing."""

# Practice has few ways to go wrong. Beside the dialogues, so fast a step would tread down what was practised.
PRACTICE_MATRIX_RATE, MATRIX_RATE = 0.02, 0.009
OTHER_RATE = 2e-3
# The last two parts begin anew, each with two thirds of the rates before, and have other shares of dialogues.
LAST_STEPS, LAST_MATRIX_RATE, LAST_OTHER_RATE = 1300, 0.006, 1.2e-3
AGAIN_STEPS, AGAIN_MATRIX_RATE, AGAIN_OTHER_RATE = 800, 0.004, 8e-4
# To train existing weights further.
FURTHER_STEPS, FURTHER_MATRIX_RATE, FURTHER_OTHER_RATE = 900, 0.005, 1.5e-3
HEAD_STEPS, HEAD_RATE = 30, 1e-2


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the training: how many steps, and at which rates. They rise, stay, and fall to nothing in the end."""

    steps: int
    matrix_rate: float
    other_rate: float
    rise_steps: float = RISE_STEPS
    fall_steps: float = 1

    def rates_at(self, step: float) -> tuple[float, float]:
        """Of the matrices and of the rest."""
        share = min(1.0, (step + 1) / self.rise_steps, (self.steps - step) / self.fall_steps)
        return share * self.matrix_rate, share * self.other_rate


def parts(steps: int) -> tuple[Part, Part, Part, Part]:
    """Practice, dialogues, and twice dialogues with more to be copied exactly, where all take so many steps."""
    practice = min(steps, PRACTICE_STEPS)
    last = min(LAST_STEPS, (steps - practice) // 2)
    again = min(AGAIN_STEPS, (steps - practice - last) // 2)
    talk = steps - practice - last - again
    return (
        Part(practice, PRACTICE_MATRIX_RATE, OTHER_RATE),
        Part(talk, MATRIX_RATE, OTHER_RATE, 2 * RISE_STEPS, (talk + practice) * FALL_SHARE),
        Part(last, LAST_MATRIX_RATE, LAST_OTHER_RATE, 2 * RISE_STEPS, last),
        Part(again, AGAIN_MATRIX_RATE, AGAIN_OTHER_RATE, 2 * RISE_STEPS, again),
    )


HEADS = Part(HEAD_STEPS, HEAD_RATE, HEAD_RATE, RISE_STEPS / 4, HEAD_STEPS / 2)
"""Of the layers that help to learn, beside a model that stays as it is."""


def further(steps: int) -> Part:
    """Of weights that exist: a short rise, then a fall to nothing."""
    return Part(steps, FURTHER_MATRIX_RATE, FURTHER_OTHER_RATE, 2 * RISE_STEPS, steps * FALL_SHARE)
