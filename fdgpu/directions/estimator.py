"""``FailureDirections``: one linear SVM a class, between what the model gets right and what it gets wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Restore, restorer, to_torch
from fdgpu.device import choose_backend
from fdgpu.directions import persistence
from fdgpu.directions.backends import backend_named
from fdgpu.directions.distilling import distil
from fdgpu.directions.fitted import FittedDirections
from fdgpu.directions.grouping import Grouping
from fdgpu.directions.problem import (
    ENOUGH,
    ClassSolution,
    ClassTask,
    Samples,
    SearchSettings,
    SolverSettings,
    status_of,
)
from fdgpu.directions.scoring import caption_directions, caption_scores, decision_values
from fdgpu.directions.significance import benjamini_hochberg
from fdgpu.directions.validation import FitInput, check_costs, check_embeddings, check_fit_input, check_labels
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import FdgpuWarning, InputError

PAPER_COSTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MOST_DIRECTIONS = 6  # modes of two folds are matched by trying every order


class FailureDirections(FittedDirections):
    """Distil a classifier's failures into one direction per class (paper, sections 2 and A.2 to A.4).

    For every class a linear SVM with balanced class weights separates the embeddings of the samples that the model
    got right (+1, easy) from those it got wrong (-1, hard). Its normal is the failure direction; its cross-validated
    balanced accuracy measures how consistent the failure is.

    Args:
        Cs: grid of the regularisation constant; the best is chosen by cross-validation, the smaller one on a tie.
        cv: number of stratified folds, not shuffled.
        whiten: whiten by the reference before normalising (A.4); False only normalises (A.7, for decoding).
        tol: largest violation of the KKT conditions at which a problem counts as solved, as in libsvm.
        n_directions: most failure modes to look for in each class. Fewer are kept where the next is not significant;
            a class with one mode keeps the paper's SVM. See :mod:`fdgpu.directions.modes`.
        n_permutations: permutations of correctness within a class for its p-value; 0 tests nothing.
        fdr: false discovery rate that ``significant_`` controls over all classes and directions.
        backend: ``"auto"``, ``"numba"``, ``"triton"`` or ``"cuml"``; one asked for by name runs or raises. ``"auto"``
            never takes ``"cuml"``, which solves one problem after another.
        random_state: seed of everything random.
        max_iter: most solver steps for one C (outer iterations in cuML before 26.2); a problem that reaches it is
            reported in ``converged_``.
        stop_after: stop a class's permutations at so many null scores that are at least as high as its own (Besag
            and Clifford's sequential p-value), since it is not significant then; 0 draws all.
        nested: also compute ``nested_score_``, which the choice of C has not made optimistic.
        n_resamples: fits of random halves of every class and mode, which say how firmly its captions stand; 0 for
            none. See :mod:`fdgpu.directions.stability`.

    Attributes (k classes, r directions, d dimensions; arrays are of the kind that ``fit`` was given):
        classes_: (k,) class ids, ascending.
        coef_, directions_: (k, r, d) w in whitened space, and w / ‖w‖; NaN where a class has no direction.
        intercept_, C_, cv_score_: (k, r); cv_scores_ (k, r, c) for every C of the grid.
        C_at_edge_: (k, r) bool, the chosen C is the first or last of the grid.
            Kept directions come first, those that explain the most errors beyond chance first; then NaN.
        p_value_, q_value_, significant_: (k, r), NaN and False without permutations. Direction 0's p-value is that of
            the class's CV score; direction j's says how surely there are more than j modes, and is never smaller
            than the one before.
        n_directions_: (k,) directions kept; n_errors_of_ (k, r) errors that belong to each.
        n_permutations_: (k,) permutations drawn; nested_score_ (k,), NaN unless ``nested``.
        solver_: k strings, "gram", "newton" where the Gram matrix was too large, "cuml"; "" without a direction.
        resampled_coef_: (k, r, B, d) float32, w of B = n_resamples halves: 2 KB for each at d = 512, so that 1000
            classes with 20 take 41 MB. Not written by ``save``.
        converged_: (k, r) bool; ``n_iter_`` (k, r) solver steps of the refit, -1 where an older cuML does not tell.
        status_: k strings, "ok", "no_errors", "all_errors", "too_few_errors" or "too_few_correct".
        n_samples_, n_errors_: (k,) what each class was fitted on.
        scale_: (d,) deviations of the whitening.
        backend_, backend_reason_: what ran, and why.
    """

    def __init__(
        self,
        Cs: Sequence[float] = PAPER_COSTS,
        cv: int = 2,
        whiten: bool = True,
        tol: float = 1e-3,
        n_directions: int = 1,
        n_permutations: int = 0,
        fdr: float = 0.05,
        backend: str = "auto",
        random_state: int = 0,
        max_iter: int = 1_000_000,
        stop_after: int = 0,
        nested: bool = False,
        n_resamples: int = 0,
    ) -> None:
        self.Cs = check_costs(Cs)
        if cv != int(cv) or cv < 2:
            raise InputError(f"cv is {cv}: use a whole number of at least 2 folds")
        if not (np.isfinite(tol) and tol > 0):
            raise InputError(f"tol is {tol}: use a number greater than 0, such as 1e-3")
        if max_iter < 1:
            raise InputError(f"max_iter is {max_iter}: use at least 1")
        if not 0 < fdr < 1:
            raise InputError(f"fdr is {fdr}: use a rate between 0 and 1, such as 0.05")
        if n_directions != int(n_directions) or not 1 <= n_directions <= MOST_DIRECTIONS:
            raise InputError(f"n_directions is {n_directions}: use a whole number from 1 to {MOST_DIRECTIONS}")
        if n_permutations != int(n_permutations) or n_permutations < 0:
            raise InputError(f"n_permutations is {n_permutations}: use 0 for no test, or a number such as 200")
        if stop_after != int(stop_after) or stop_after < 0:
            raise InputError(f"stop_after is {stop_after}: use 0 to draw all permutations, or a number such as 20")
        if n_resamples != int(n_resamples) or n_resamples < 0 or n_resamples == 1:
            raise InputError(f"n_resamples is {n_resamples}: use 0 for none, or a number such as 20")
        self.cv, self.whiten, self.tol = int(cv), bool(whiten), float(tol)
        self.n_directions, self.n_permutations, self.fdr = int(n_directions), int(n_permutations), float(fdr)
        self.backend, self.random_state, self.max_iter = backend, int(random_state), int(max_iter)
        self.stop_after, self.nested, self.n_resamples = int(stop_after), bool(nested), int(n_resamples)
        self._backend_choice = choose_backend(backend)
        self._restore: Restore = lambda host: host

    # --- fitting ----------------------------------------------------------------------------------------------------

    def fit(self, embeddings: Any, labels: Any, correct: Any, reference: Any = None) -> FailureDirections:
        """Find each class's failure direction.

        Args:
            embeddings: (n, d) float, of a held-out set: torch, NumPy, CuPy or JAX.
            labels: (n,) integer class ids.
            correct: (n,) bool, True where the model was right.
            reference: (m, d) embeddings whose mean and deviation whiten; default ``embeddings``. The paper takes
                the training images'.

        Raises:
            InputError: for shapes that do not fit, NaN or infinite rows (named), or labels that are not integers.
        """
        given = check_fit_input(embeddings, labels, correct, reference)
        settings = SolverSettings(self.Cs, self.cv, self.tol, self.max_iter)
        self._restore = restorer(embeddings)
        self._whitening = self._fit_whitening(given.reference)
        groups = Grouping.of(given.labels)
        self._allocate(given, groups)
        fitted = np.array([status == ENOUGH for status in self.status_])
        tests = SearchSettings(
            self.n_directions, self.n_permutations, self.stop_after, self.nested, self.fdr, self.random_state,
            self.n_resamples,
        )  # fmt: skip
        backend = backend_named(self._backend_choice.name)
        # a class is whitened when its turn comes, so that no whitened copy of the whole set is held
        samples, rows = Samples(given.embeddings, given.correct, self._whitening), groups.rows()
        tasks = [ClassTask(k, rows[k], samples) for k in np.flatnonzero(fitted).tolist()]
        solutions: list[ClassSolution] = []
        for batch in backend.open(tasks, settings):
            own = tasks[len(solutions) : len(solutions) + len(batch.layout.sizes)]
            solutions += distil(batch, [task.index for task in own], settings, tests)
            del batch  # the next one is made before the loop would let go of this one
        self._keep(np.flatnonzero(fitted), solutions)
        self.backend_, self.backend_reason_ = self._backend_choice.name, self._backend_choice.reason
        self._warn_about(fitted)
        return self

    def _fit_whitening(self, reference: torch.Tensor) -> Whitening:
        if not self.whiten:
            return Whitening.identity(reference.shape[1])
        if len(reference) < 2:
            raise InputError(f"reference has {len(reference)} row: whitening needs at least 2, or pass whiten=False")
        return Whitening.fit(reference)

    def _allocate(self, given: FitInput, groups: Grouping) -> None:
        """Count each class, and make room for k × r results."""
        n = groups.sizes
        n_wrong = np.bincount(groups.class_of, weights=~given.correct, minlength=len(n)).astype(np.int64)
        self._classes, self._n, self._n_errors = groups.classes, n, n_wrong
        self.status_ = [status_of(int(a - w), int(w), self.cv) for a, w in zip(n, n_wrong, strict=True)]
        k, r, d = len(n), self.n_directions, given.embeddings.shape[1]
        self._coef = np.full((k, r, d), np.nan, np.float32)
        self._intercept, self._C, self._cv_score = (np.full((k, r), np.nan) for _ in range(3))
        self._cv_scores = np.full((k, r, len(self.Cs)), np.nan)
        self._p_value, self._q_value = np.full((k, r), np.nan), np.full((k, r), np.nan)
        self._converged = np.ones((k, r), bool)
        self._n_iter, self._n_errors_of = np.zeros((k, r), np.int64), np.zeros((k, r), np.int64)
        self._n_directions, self._n_permutations = np.zeros(k, np.int64), np.zeros(k, np.int64)
        self._nested_score = np.full(k, np.nan)
        self._resampled_coef = np.full((k, r, self.n_resamples, d), np.nan, np.float32)
        self.solver_ = [""] * k

    def _keep(self, places: NDArray[np.int64], solutions: Sequence[ClassSolution]) -> None:
        """Control false discoveries over everything that was tested, and keep of each class as many modes as hold."""
        p = np.full((len(solutions), self.n_directions), np.nan)
        for row, solution in zip(p, solutions, strict=True):
            row[: len(solution.p_values)] = solution.p_values
        q = benjamini_hochberg(p)
        for i, (k, solution) in enumerate(zip(places, solutions, strict=True)):
            count = len(solution.candidates)
            if self.n_permutations:
                count = max(1, min(count, int((q[i] <= self.fdr).sum())))
            self._n_directions[k], self._n_permutations[k] = count, solution.n_permutations
            self._p_value[k, :count], self._q_value[k, :count] = p[i, :count], q[i, :count]
            self._nested_score[k], self.solver_[k] = solution.nested_score, solution.solver
            for r, mode in enumerate(solution.candidates[count - 1]):
                self._coef[k, r], self._intercept[k, r] = mode.w, mode.intercept
                self._C[k, r], self._cv_score[k, r] = mode.cost, mode.cv_score
                self._cv_scores[k, r] = mode.cv_scores
                self._converged[k, r] = mode.violation <= self.tol
                self._n_iter[k, r], self._n_errors_of[k, r] = mode.n_iter, mode.n_errors
                if mode.resampled is not None:
                    self._resampled_coef[k, r] = mode.resampled

    def _warn_about(self, fitted: NDArray[np.bool_]) -> None:
        stuck = self._classes[fitted & ~self._converged.all(axis=1)]
        if len(stuck):
            warnings.warn(
                f"{len(stuck)} classes stopped before the KKT violation reached tol={self.tol:g} (class ids "
                f"{stuck[:10].tolist()}): raise max_iter or tol, or drop the largest C; see converged_",
                FdgpuWarning,
                stacklevel=3,
            )

    # --- use --------------------------------------------------------------------------------------------------------

    def transform(self, embeddings: Any) -> Any:
        """Whiten and normalise: (n, d) embeddings to (n, d) unit vectors in the space of ``coef_``."""
        return restorer(embeddings)(self._whitened(embeddings))

    def decision_function(self, embeddings: Any, labels: Any, direction: int = 0) -> Any:
        """Return (n,) w·x + b of each row under its class's direction: > 0 easy, < 0 hard.

        NaN where the class has no direction, or was not in the fit.
        """
        x = self._whitened(embeddings)
        return restorer(embeddings)(self._decide(x, check_labels(labels, len(x)), direction))

    def predict(self, embeddings: Any, labels: Any) -> Any:
        """Say for each row whether the model would be right, (n,) bool: whether no direction of its class flags it.

        A class without a direction is predicted as it was seen: right, unless most of its samples were wrong.

        Raises:
            InputError: for a label that the fit has not seen.
        """
        x = self._whitened(embeddings)
        ids = check_labels(labels, len(x))
        unknown = np.setdiff1d(ids, self._classes)
        if len(unknown):
            raise InputError(f"labels holds {unknown[:5].tolist()}, which fit has not seen: predict only known classes")
        values = self._decide(x, ids, 0)
        for direction in range(1, self.n_directions):
            values = torch.fmin(values, self._decide(x, ids, direction))
        usual = torch.from_numpy((2 * self._n_errors <= self._n)[np.searchsorted(self._classes, ids)]).to(x.device)
        return restorer(embeddings)(torch.where(values.isnan(), usual, values > 0))

    def score_captions(self, captions: Any, reference: Any, class_id: int, direction: int = 0) -> Any:
        """Align captions with a class's direction (paper, 2.2).

        Args:
            captions: (m, d) unit text vectors.
            reference: (d,) unit text vector of the caption that describes the whole class.
            class_id: an entry of ``classes_``.
            direction: which of the class's directions.

        Returns:
            (m,) w·d of the unit differences d = (c − r) / σ; most negative is hardest. NaN for a caption that equals
            the reference, and for a class without a direction.
        """
        w = self._fitted("coef")[self.place_of(class_id), self._checked_direction(direction)]
        vectors, base = self._captions(captions, reference)
        return restorer(captions)(caption_scores(vectors, base, w, self._whitening.scale))

    def caption_directions(self, captions: Any, reference: Any) -> Any:
        """Return (m, d) unit differences d = (c − r) / σ of captions, as they are scored; NaN for the reference.

        Captions whose differences point the same way say the same; a product with ``resampled_coef_`` scores them along
        the directions of halves.
        """
        vectors, base = self._captions(captions, reference)
        return restorer(captions)(caption_directions(vectors, base, self._whitening.scale))

    def _captions(self, captions: Any, reference: Any) -> tuple[torch.Tensor, torch.Tensor]:
        d = self._fitted("coef").shape[-1]
        vectors = check_embeddings(captions, "captions", d)
        base = check_embeddings(torch.atleast_2d(to_torch(reference, "reference")), "reference", d)
        if len(base) != 1:
            raise InputError(f"reference has {len(base)} rows: a class has one reference caption, ({d},)")
        return vectors, base[0].to(vectors.device)

    def _whitened(self, embeddings: Any) -> torch.Tensor:
        d = self._fitted("coef").shape[-1]
        return self._whitening(check_embeddings(embeddings, "embeddings", d))

    def _decide(self, x: torch.Tensor, ids: NDArray[np.int64], direction: int) -> torch.Tensor:
        r = self._checked_direction(direction)
        return decision_values(x, ids, self._classes, self._coef[:, r], self._intercept[:, r])

    def _checked_direction(self, direction: int) -> int:
        if direction not in range(self.n_directions):
            raise InputError(f"direction is {direction}: this fit has directions 0 to {self.n_directions - 1}")
        return int(direction)

    def place_of(self, class_id: int) -> int:
        """Return the row of a class in ``classes_``, ``coef_`` and all other results.

        Raises:
            InputError: for a class that was not fitted.
        """
        found = np.flatnonzero(self._fitted("classes") == class_id)
        if not len(found):
            raise InputError(f"class_id is {class_id}: use one of classes_, {self._classes[:10].tolist()}…")
        return int(found[0])

    # --- storage ----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: arrays, and the settings as JSON in its header."""
        self._fitted("classes")
        persistence.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> FailureDirections:
        """Read what :meth:`save` wrote; results come back as NumPy arrays.

        Raises:
            InputError: if the file is missing, cut short, or not one of ours.
        """
        return persistence.load(cls, Path(path))
