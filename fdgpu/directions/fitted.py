"""What a fit gives, in the kind of array that it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import Restore
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import NotFittedError


class FittedDirections:
    """The results of :class:`fdgpu.FailureDirections`: k classes, r directions, d dimensions.

    Kept directions come first in every class, those that explain the most errors beyond chance first; then NaN.
    """

    Cs: tuple[float, ...]
    fdr: float
    _restore: Restore
    _whitening: Whitening

    def _fitted(self, name: str) -> NDArray[Any]:
        if not hasattr(self, "_classes"):
            raise NotFittedError(f"{name} is not there yet: call fit(embeddings, labels, correct) first")
        return np.asarray(getattr(self, f"_{name}"))

    @property
    def classes_(self) -> Any:
        """(k,) class ids, ascending."""
        return self._restore(self._fitted("classes"))

    @property
    def coef_(self) -> Any:
        """(k, r, d) w in whitened space."""
        return self._restore(self._fitted("coef"))

    @property
    def directions_(self) -> Any:
        """(k, r, d) w / ‖w‖: unit vectors that point from hard to easy; NaN where w is zero, and points nowhere."""
        coef = self._fitted("coef")
        length = np.linalg.norm(coef.astype(np.float64), axis=-1, keepdims=True)
        return self._restore(np.divide(coef, length, out=np.full_like(coef, np.nan), where=length > 0))

    @property
    def intercept_(self) -> Any:
        """(k, r) b."""
        return self._restore(self._fitted("intercept"))

    @property
    def C_(self) -> Any:  # noqa: N802 - scikit-learn's name
        """(k, r) the chosen C."""
        return self._restore(self._fitted("C"))

    @property
    def C_at_edge_(self) -> Any:  # noqa: N802 - after C_
        """(k, r) bool: the chosen C is the first or the last of a grid of several."""
        chosen = self._fitted("C")
        edge = (chosen == self.Cs[0]) | (chosen == self.Cs[-1])
        return self._restore(edge & (len(self.Cs) > 1))

    @property
    def cv_score_(self) -> Any:
        """(k, r) mean balanced accuracy over the folds at the chosen C; optimistic, as the paper reports it."""
        return self._restore(self._fitted("cv_score"))

    @property
    def cv_scores_(self) -> Any:
        """(k, r, c) the score of every C of the grid."""
        return self._restore(self._fitted("cv_scores"))

    @property
    def p_value_(self) -> Any:
        """(k, r) permutation p-values; NaN without permutations."""
        return self._restore(self._fitted("p_value"))

    @property
    def q_value_(self) -> Any:
        """(k, r) Benjamini-Hochberg q-values; NaN without permutations."""
        return self._restore(self._fitted("q_value"))

    @property
    def significant_(self) -> Any:
        """(k, r) bool: q-value at most ``fdr``; False without permutations."""
        return self._restore(self._fitted("q_value") <= self.fdr)

    @property
    def converged_(self) -> Any:
        """(k, r) bool: every problem of the class reached ``tol``."""
        return self._restore(self._fitted("converged"))

    @property
    def n_iter_(self) -> Any:
        """(k, r) solver steps of the refit at the chosen C."""
        return self._restore(self._fitted("n_iter"))

    @property
    def n_samples_(self) -> Any:
        """(k,) samples of each class."""
        return self._restore(self._fitted("n"))

    @property
    def n_errors_(self) -> Any:
        """(k,) of which the model got wrong."""
        return self._restore(self._fitted("n_errors"))

    @property
    def n_directions_(self) -> Any:
        """(k,) directions that were kept, 0 where a class has none."""
        return self._restore(self._fitted("n_directions"))

    @property
    def n_errors_of_(self) -> Any:
        """(k, r) errors that belong to each direction."""
        return self._restore(self._fitted("n_errors_of"))

    @property
    def n_permutations_(self) -> Any:
        """(k,) permutations drawn; fewer than ``n_permutations`` where ``stop_after`` settled the p-value."""
        return self._restore(self._fitted("n_permutations"))

    @property
    def nested_score_(self) -> Any:
        """(k,) nested cross-validation's balanced accuracy; NaN unless ``nested``."""
        return self._restore(self._fitted("nested_score"))

    @property
    def resampled_coef_(self) -> Any:
        """(k, r, B, d) w of halves of each class and mode, B = ``n_resamples``; NaN where there is no direction."""
        if hasattr(self, "_classes") and not hasattr(self, "_resampled_coef"):
            raise NotFittedError("resampled_coef_ is not stored with a fit: call fit to draw the halves again")
        return self._restore(self._fitted("resampled_coef"))

    @property
    def scale_(self) -> Any:
        """(d,) deviations of the whitening, ones without it: the ``scale`` of a :class:`fdgpu.CaptionIndex`."""
        self._fitted("classes")
        return self._restore(self._whitening.scale)
