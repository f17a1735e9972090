"""From numbers to positions in a figure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LinearScale:
    """Map the numbers of ``domain`` linearly to the positions of ``span``.

    A domain of one point maps to the middle of the span.
    """

    domain: tuple[float, float]
    span: tuple[float, float]

    def __call__(self, value: float) -> float:
        """Return the position of ``value``; outside the domain the line goes on."""
        low, high = self.domain
        start, end = self.span
        if high == low:
            return (start + end) / 2
        return start + (value - low) / (high - low) * (end - start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round numbers within the domain, about ``about`` of them."""
        low, high = self.domain
        if high == low:
            return [low]
        step = round_step((high - low) / max(about - 1, 1))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        # Multiples of the step, counted in whole numbers: adding the step up would drift (0.30000000000000004).
        digits = max(0, -math.floor(math.log10(step)) + 1)
        return [round(i * step, digits) for i in range(first, last + 1)]


def round_step(rough: float) -> float:
    """Return the 1, 2 or 5 times a power of ten that is next at or above ``rough`` (> 0)."""
    magnitude = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 5.0):
        if rough <= factor * magnitude * (1 + 1e-9):
            return factor * magnitude
    return 10.0 * magnitude
