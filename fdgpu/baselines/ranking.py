"""The one interface of all that ranks examples by hardness, so that rivals can stand in for one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import to_numpy
from fdgpu.errors import InputError


@dataclass(frozen=True)
class Examples:
    """What a ranking may look at; each says which of these it needs.

    Attributes:
        labels: (n,) class ids from 0.
        images: (n, 3, h, w) as the models take them, or a Dataset of (image, label).
        embeddings: (n, d), in any space.
        probabilities: (n, k) that the base model gives, over classes.
    """

    labels: Any
    images: Any = None
    embeddings: Any = None
    probabilities: Any = None

    def class_ids(self) -> NDArray[np.int64]:
        """Return the labels, checked."""
        labels = to_numpy(self.labels, "labels")
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0 or labels.min() < 0:
            raise InputError(f"labels is {labels.dtype} of shape {labels.shape}: pass (n,) class ids from 0, n > 0")
        return labels.astype(np.int64)

    def needed(self, name: str, who: str) -> Any:
        """Return a part, of which ``who`` has need.

        Raises:
            InputError: if it was not given.
        """
        part = getattr(self, name)
        if part is None:
            raise InputError(f"{who} looks at {name}, which was not given: pass Examples(…, {name}=…)")
        return part

    def matrix(self, name: str, who: str) -> NDArray[np.float64]:
        """Return embeddings or probabilities, one row an example."""
        rows = to_numpy(self.needed(name, who), name).astype(np.float64)
        if rows.ndim != 2 or len(rows) != len(self.class_ids()):
            raise InputError(
                f"{name} has shape {rows.shape}, there are {len(self.class_ids())} labels: pass a row each"
            )
        if not np.isfinite(rows).all():
            raise InputError(f"{name} holds NaN or infinity: drop these examples, or see what made them")
        return rows


class Ranking(Protocol):
    """Orders examples."""

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) numbers, lower is harder, to be compared within a class; as a decision value is."""
        ...


@dataclass(frozen=True)
class Chance:
    """Draws lots."""

    seed: int = 0

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) uniform numbers; the same seed draws the same lots."""
        return np.random.default_rng(self.seed).random(len(examples.class_ids()))
