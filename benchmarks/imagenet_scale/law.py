"""How a stage's seconds grow with its size: fitted to some sizes, tried on one that was held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

STEEP = 1.1  # exponents from here on are no noise


@dataclass(frozen=True)
class Law:
    """Seconds of size x: ``fixed + each * x ** power``."""

    fixed: float
    each: float
    power: float = 1.0

    def __call__(self, size: float) -> float:
        """Return the seconds of a size."""
        return float(self.fixed + self.each * size**self.power)

    def __str__(self) -> str:
        grows = "x" if self.power == 1 else f"x^{self.power:.2f}"
        return (f"{self.fixed:.3g} s + " if self.fixed else "") + f"{self.each:.3g} s * {grows}"

    @classmethod
    def fitted(cls, sizes: Sequence[float], seconds: Sequence[float]) -> Law:
        """Fit a line a + b·x with a, b ≥ 0, or where seconds grow faster than that, a power a·x^p.

        Both make relative errors small, so that small sizes count as much as large ones. A power below one would say
        that what is fixed grows, and promise too little for a size far away.
        """
        x, t = np.asarray(sizes, float), np.asarray(seconds, float)
        power, log_each = np.polyfit(np.log(x), np.log(t), 1)
        if power > STEEP:
            return cls(0.0, float(np.exp(log_each)), float(power))
        (fixed, each), _ = nnls(np.stack([1 / t, x / t], axis=1), np.ones(len(t)))
        return cls(float(fixed), float(each))


@dataclass(frozen=True)
class Prediction:
    """What a law says of the size that was held out, and what was measured there."""

    law: Law
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of what was measured."""
        return self.predicted / self.measured - 1

    @classmethod
    def of(cls, sizes: Sequence[float], seconds: Sequence[float]) -> Prediction:
        """Fit a law to all sizes but the last, and try it there."""
        law = Law.fitted(sizes[:-1], seconds[:-1])
        return cls(law, law(sizes[-1]), seconds[-1])


def exponent(sizes: Sequence[float], amounts: Sequence[float]) -> float:
    """Return p of the power a·x^p that is nearest to the amounts: 0 where they do not grow, 1 where they do alike."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(amounts, float)), 1)[0])
