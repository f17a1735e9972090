"""The one interface of all that ranks examples by hardness, so that rivals can stand in for one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import doubles, to_numpy, to_torch
from fdgpu.errors import InputError

SLACK = 1e-3  # of a distribution's sum: a softmax in half precision is off by less


@dataclass(frozen=True)
class Examples:
    """What a ranking may look at; each says which of these it needs.

    Attributes:
        labels: (n,) class ids from 0.
        images: (n, 3, h, w) as the models take them, or a Dataset of (image, label).
        embeddings: (n, d), in any space.
        probabilities: (n, k) that the base model gives, over classes: each row sums to 1. Where an image has several
            labels, each is a problem of its own, of two classes, [1 − p, p].
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
        """Return embeddings or probabilities, one row an example.

        Raises:
            InputError: if they were not given, are not one row a label, or hold NaN or infinity.
        """
        rows = doubles(to_torch(self.needed(name, who), name))
        if rows.ndim != 2 or len(rows) != len(self.class_ids()):
            raise InputError(
                f"{name} has shape {rows.shape}, there are {len(self.class_ids())} labels: pass a row each"
            )
        if not np.isfinite(rows).all():
            raise InputError(f"{name} holds NaN or infinity: drop these examples, or see what made them")
        return rows

    def distributions(self, who: str) -> NDArray[np.float64]:
        """Return the probabilities, one row an example, a column for every class that the labels name.

        Raises:
            InputError: if they were not given, are logits or for another reason no distributions, or have too few
                columns.
        """
        rows, highest = self.matrix("probabilities", who), self.class_ids().max()
        if highest >= rows.shape[1]:
            raise InputError(
                f"labels holds {highest}, there are {rows.shape[1]} probabilities: number the classes from 0"
            )
        sums, least = rows.sum(axis=1), rows.min(axis=1)
        off = (least < -SLACK) | (np.abs(sums - 1) > SLACK)
        if off.any():
            first = int(off.argmax())
            raise InputError(
                f"probabilities has {int(off.sum())} rows that are no distribution; row {first} has the sum "
                f"{sums[first]:.4g}, its least entry is {least[first]:.4g}: softmax them in float32 if they "
                "are logits; where an image has several labels, pass [1 − p, p] of one at a time"
            )
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
