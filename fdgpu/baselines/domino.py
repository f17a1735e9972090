"""Domino as a ranking: one error-aware mixture a class, as the paper compares with it (B.1.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.baselines.mixture import Mixture, MixtureFit, log_sum_exp
from fdgpu.baselines.principal import PrincipalComponents
from fdgpu.baselines.ranking import Examples
from fdgpu.errors import InputError

SLICES, GAMMA, DIMENSIONS = 2, 10.0, 128  # the first two as the paper sets them (B.1.5), the third is Domino's own


@dataclass(frozen=True)
class Domino:
    """The log odds against the slice in which the model errs most, within the examples of a class.

    Odds have the order of Domino's posterior, which in many dimensions is 1.0 to the last bit for so many examples
    that they could not be ranked by it.

    Attributes:
        space: principal components of the held-out embeddings.
        mixtures: one a class.
        gamma: weight of labels and predictions in the likelihood.
    """

    space: PrincipalComponents
    mixtures: dict[int, Mixture]
    gamma: float

    @classmethod
    def fit(
        cls,
        held_out: Examples,
        *,
        slices: int = SLICES,
        gamma: float = GAMMA,
        dimensions: int = DIMENSIONS,
        seed: int = 0,
    ) -> Domino:
        """Fit one mixture for each class of ``held_out``; it has to hold labels, embeddings and probabilities.

        Raises:
            InputError: if one of them is missing, or scikit-learn, by which slices start, is not installed.
        """
        labels = held_out.class_ids()
        embeddings = held_out.matrix("embeddings", "Domino")
        space = PrincipalComponents.fit(embeddings.astype(np.float32), dimensions)
        z = space(embeddings.astype(np.float32))
        em = MixtureFit(components=slices, gamma=gamma, seed=seed)
        mixtures = {}
        for label in np.unique(labels).tolist():
            own = labels == label
            mixtures[label], _ = em(z[own], np.ones(int(own.sum()), np.int64), _score(held_out, label)[own])
        return cls(space, mixtures, gamma)

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) log odds, from labels, embeddings and the base model's probabilities.

        Raises:
            InputError: for a class that was not fitted.
        """
        labels = examples.class_ids()
        z = self.space(examples.matrix("embeddings", "Domino").astype(np.float32))
        out = np.empty(len(labels))
        for label in np.unique(labels).tolist():
            if label not in self.mixtures:
                raise InputError(f"class {label} was not among the held-out examples: fit Domino on all classes")
            own, mixture = labels == label, self.mixtures[label]
            score = _score(examples, label)[own]
            joint = mixture.log_joint(z[own], np.ones(len(score), np.int64), score, self.gamma)
            worst = mixture.order[0]
            out[own] = log_sum_exp(np.delete(joint, worst, axis=1))[:, 0] - joint[:, worst]
        return out


def _score(examples: Examples, label: int) -> NDArray[np.float64]:
    """Return (n,) the probability of one class."""
    probabilities = examples.matrix("probabilities", "Domino")
    if label >= probabilities.shape[1]:
        raise InputError(f"labels holds {label}, there are {probabilities.shape[1]} probabilities: number from 0")
    return probabilities[:, label]
