"""Domino as a ranking: its slices with the most errors, as the paper compares with it (B.1.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.mixture import Mixture, MixtureFit, cells, log_sum_exp
from benchmarks.baselines.principal import PrincipalComponents
from benchmarks.baselines.ranking import Examples
from fdgpu.errors import InputError

SLICES, GAMMA = 2, 10.0  # as the paper sets them (B.1.5)
COMPONENTS, DIMENSIONS = 25, 128  # Domino's own


@dataclass(frozen=True)
class Domino:
    """The log odds against those slices of the example's class in which labels and predictions differ most.

    Odds have the order of Domino's posterior, which in many dimensions is 1.0 to the last bit for so many examples
    that they could not be ranked by it.

    Attributes:
        space: principal components of the held-out embeddings.
        mixture: over all classes.
        slices: how many of its components are shown of each class.
        gamma: weight of labels and predictions in the likelihood.
    """

    space: PrincipalComponents
    mixture: Mixture
    slices: int
    gamma: float

    @classmethod
    def fit(
        cls,
        held_out: Examples,
        *,
        slices: int = SLICES,
        components: int = COMPONENTS,
        gamma: float = GAMMA,
        dimensions: int = DIMENSIONS,
        seed: int = 0,
    ) -> Domino:
        """Fit the mixture to ``held_out``; it has to hold labels, embeddings and probabilities.

        Args:
            held_out: examples that the base model was not trained on.
            slices: how many components are shown of each class.
            components: of the mixture, over all classes; at least one for each pair of class and prediction in
                ``held_out``.
            gamma: weight of labels and predictions in the likelihood.
            dimensions: principal components that are kept of the embeddings.
            seed: of the k-means by which components start.

        Raises:
            InputError: if one part of ``held_out`` is missing, a setting is out of its range, or scikit-learn, by which
                components start, is not installed.
        """
        if not 1 <= slices < components:
            raise InputError(f"slices is {slices}, components is {components}: show at least 1, and not all of them")
        em = MixtureFit(components=components, gamma=gamma, seed=seed)
        embeddings = held_out.matrix("embeddings", "Domino").astype(np.float32)
        labels, probabilities = held_out.class_ids(), held_out.distributions("Domino")
        _check_enough(components, len(np.unique(cells(labels, probabilities))))
        space = PrincipalComponents.fit(embeddings, dimensions)
        mixture, _ = em(space(embeddings), labels, probabilities)
        return cls(space, mixture, slices, gamma)

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) log odds, from labels, embeddings and the base model's probabilities.

        Raises:
            InputError: if one of them is missing, or of another width than Domino was fitted on.
        """
        z = self.space(examples.matrix("embeddings", "Domino").astype(np.float32))
        labels, probabilities = examples.class_ids(), examples.distributions("Domino")
        if probabilities.shape[1] != self.mixture.p.shape[1]:
            raise InputError(
                f"probabilities is of {probabilities.shape[1]} classes, Domino was fitted on "
                f"{self.mixture.p.shape[1]}: pass those of the same model"
            )
        joint = self.mixture.log_joint(z, labels, probabilities, self.gamma)
        out = np.empty(len(labels))
        for label in np.unique(labels).tolist():
            own = labels == label
            worst, rest = np.split(joint[own][:, self._order_of(label)], [self.slices], axis=1)
            out[own] = (log_sum_exp(rest) - log_sum_exp(worst))[:, 0]
        return out

    def _order_of(self, label: int) -> NDArray[np.int64]:
        """Return the components, those first that are of this class and differ most.

        Were the slices the worst of all classes, a class without one among them would be ranked by another's.
        """
        differ = np.abs(self.mixture.p - self.mixture.p_hat).max(axis=1)
        return np.argsort(-self.mixture.p[:, label] * differ, kind="stable")


def _check_enough(components: int, filled: int) -> None:
    """With fewer, the classes of the highest ids would start without a component, and rank by those of others."""
    if components < filled:
        raise InputError(
            f"components is {components}, {filled} pairs of class and prediction occur in held_out: use at least "
            f"{filled}, one a pair, or fit fewer classes at a time"
        )
