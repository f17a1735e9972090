"""``FailureDirections``: what a class's failures share, by a linear SVM or as a hidden class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields
from functools import partial, reduce
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from fdgpu.arrays import Array, Restore, restorer, to_device, to_torch
from fdgpu.checks import check_whole, shown
from fdgpu.cluster import Cluster
from fdgpu.described import Described
from fdgpu.device import Backend, Choice, choose_backend
from fdgpu.directions.batch import Solve, SolverBackend
from fdgpu.directions.dealing import Dealt, Here
from fdgpu.directions.distilling import distil, draw_on, gather
from fdgpu.directions.fit import ESTIMATED, Fit
from fdgpu.directions.groups import check_groups, shared, why_not_tested
from fdgpu.directions.latent import TorchBackend
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import Method, SearchSettings, SolverSettings, documented, documents_of
from fdgpu.directions.samples import (
    ClassSamples,
    check_embeddings,
    check_labels,
    check_loss,
    check_samples,
    check_vectors,
    group_by_class,
    rows_by_class,
    status_of,
)
from fdgpu.directions.testing import most_permutations
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import FdgpuWarning, InputError, not_fitted
from fdgpu.findings import Status
from fdgpu.kernels.alignments import alignments, caption_differences
from fdgpu.progress import Reporter, silent
from fdgpu.rows import Rows

PARAMETERS = {one.name: one.default for record in (SolverSettings, SearchSettings) for one in fields(record)}


class FailureDirections(Described):
    """Distil a classifier's failures into one direction per class (paper, sections 2 and A.2 to A.4).

    For every class a linear SVM with balanced class weights separates the embeddings of the samples that the model
    got right (+1, easy) from those it got wrong (-1, hard). Its normal is the failure direction; its cross-validated
    balanced accuracy measures how consistent the failure is.

    With ``method="latent"`` a hidden class on which the model does worse is looked for instead, by ``loss`` where it
    is given (docs/method.md). ``C_`` is then 1 / λ, chosen by how well vectors foretell the model's margins. The zero
    of ``intercept_`` and :meth:`predict` are vectors as likely in the hidden class as not; with too little evidence as
    many are flagged as were wrong. ``cv_score_`` is the held-out balanced accuracy of right and wrong, where a sample
    counts as wrong that is likelier in the hidden class than not; it chose nothing. ``nested_score_`` is that with the
    λ that foretells the other folds best, and ``p_value_`` tests how well margins are foretold that were held out.

    The parameters are those of two records, :class:`SolverSettings` and :class:`SearchSettings`, which
    :meth:`from_settings` takes. As scikit-learn has it, they are kept as they were given, may be set again
    (:meth:`set_params`), and are checked by :meth:`fit`. In a pipeline the labels are ``y``, and whether the model was
    right is a parameter of the step: ``pipeline.fit(embeddings, labels, failuredirections__correct=correct)``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> correct = rng.random(200) < 0.7
        >>> embeddings = rng.normal(size=(200, 8)) + 2 * correct[:, None]
        >>> fd = fdgpu.FailureDirections(cv=5).fit(embeddings, np.zeros(200, int), correct)
        >>> fd.directions_.shape
        (1, 1, 8)
    """

    _fit: Fit | None = None
    _restore: Restore = staticmethod(restorer(()))  # results in the kind of array that fit was given

    def __init__(
        self,
        Cs: Sequence[float] = SolverSettings.Cs,
        cv: int = SolverSettings.cv,
        whiten: bool = SolverSettings.whiten,
        tol: float = SolverSettings.tol,
        n_directions: int = SearchSettings.n_directions,
        n_permutations: int = SearchSettings.n_permutations,
        fdr: float = SearchSettings.fdr,
        backend: str = SolverSettings.backend,
        random_state: int = SearchSettings.random_state,
        max_iter: int = SolverSettings.max_iter,
        stop_after: int = SearchSettings.stop_after,
        nested: bool = SearchSettings.nested,
        n_resamples: int = SearchSettings.n_resamples,
        min_errors: int = SearchSettings.min_errors,
        published: bool = SolverSettings.published,
        method: str = SolverSettings.method,
    ) -> None:
        self.Cs, self.cv, self.whiten, self.tol, self.max_iter = Cs, cv, whiten, tol, max_iter
        self.backend, self.published, self.method = backend, published, method
        self.n_directions, self.n_permutations, self.stop_after, self.fdr = (
            n_directions,
            n_permutations,
            stop_after,
            fdr,
        )
        self.nested, self.n_resamples, self.min_errors, self.random_state = (
            nested,
            n_resamples,
            min_errors,
            random_state,
        )

    @classmethod
    def from_settings(cls, solver: SolverSettings, search: SearchSettings | None = None) -> FailureDirections:
        """Make an estimator of two records of settings; without ``search``, of one direction a class, not tested.

        Example:
            >>> from dataclasses import replace
            >>> fd = fdgpu.FailureDirections(n_permutations=200)
            >>> plain = replace(fd.solver_settings, whiten=False)
            >>> fdgpu.FailureDirections.from_settings(plain, fd.search_settings).n_permutations
            200
        """
        return cls(**_as_parameters(solver), **_as_parameters(search or SearchSettings()))

    @property
    def solver_settings(self) -> SolverSettings:
        """The parameters of every class's problem, checked.

        Raises:
            InputError: for a setting that is of another kind or out of its range.
            BackendError: for a backend that there is not, or that does not go with the method.
        """
        return SolverSettings(**{one.name: getattr(self, one.name) for one in fields(SolverSettings)})

    @property
    def search_settings(self) -> SearchSettings:
        """The parameters of what is looked for, checked.

        Raises:
            InputError: for a setting that is of another kind or out of its range.
        """
        return SearchSettings(**{one.name: getattr(self, one.name) for one in fields(SearchSettings)})

    def check(self) -> FailureDirections:
        """Check every parameter, and that the backend runs here, as ``fit`` does; returns the estimator itself.

        Raises:
            InputError: for a setting that is of another kind or out of its range.
            BackendError: for a backend that was asked for by name and cannot run here.
        """
        _ = self.search_settings, self.solver_settings.choose_backend()
        return self

    def get_params(self, deep: bool = True) -> dict[str, object]:  # noqa: ARG002 - none of them is an estimator
        """Return the parameters as they were given, by name.

        Example:
            >>> fdgpu.FailureDirections(cv=5).get_params()["cv"]
            5
        """
        return {name: getattr(self, name) for name in PARAMETERS}

    def set_params(self, **parameters: object) -> FailureDirections:
        """Set some parameters for the next ``fit``; returns the estimator itself.

        Raises:
            InputError: for a name that is none of them.
        """
        unknown = next((name for name in parameters if name not in PARAMETERS), None)
        if unknown is not None:
            raise InputError(f"set_params got {shown(unknown)}: the parameters are {', '.join(PARAMETERS)}")
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def _described(self) -> dict[str, object]:
        changed = {name: value for name, value in self.get_params().items() if not _is_default(name, value)}
        return changed if self._fit is None else changed | self._fit._described()

    def __getattr__(self, name: str) -> Array:
        """Read a result from the record of the fit."""
        if name in ("fitted", "n_features_in_"):  # the property ends here too, where there is no fit
            return self._fitted(name).coef.shape[-1]
        result = name.removesuffix("_")
        if result == name or result not in ESTIMATED:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = getattr(self._fitted(name), result)
        if value is None:
            raise not_fitted(f"{name} is not stored with a fit: call fit(embeddings, labels, correct) again")
        return self._restore(value) if isinstance(value, np.ndarray | torch.Tensor) else value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), "n_features_in_", *(f"{name}_" for name in ESTIMATED)})

    def _fitted(self, name: str) -> Fit:
        if self._fit is None:
            raise not_fitted(f"{name} is not there yet: call fit(embeddings, labels, correct) first")
        return self._fit

    @property
    def fitted(self) -> Fit:
        """The record of the fit, whose small arrays are NumPy's whatever ``fit`` was given.

        Raises:
            NotFittedError: before ``fit``.
        """
        return self._fitted("fitted")

    def as_numpy(self) -> FailureDirections:
        """Give results as NumPy arrays from now on, whatever ``fit`` was given; returns the estimator itself."""
        self._restore = restorer(())
        return self

    # --- fitting ----------------------------------------------------------------------------------------------------

    def fit(
        self,
        embeddings: Array,
        labels: Array,
        correct: Array,
        reference: Array = None,
        groups: Array = None,
        progress: Reporter = silent,
        cluster: Cluster | None = None,
        loss: Array = None,
    ) -> FailureDirections:
        """Find each class's failure direction.

        Args:
            embeddings: (n, d) float, of a held-out set: torch, NumPy, CuPy or JAX; or :class:`fdgpu.rows.Rows`, which
                are read in blocks and class by class.
            labels: (n,) integer class ids; or (n, k) where a sample is in several classes, as an image that is judged
                for k conditions: it is then a sample of each, and of none where its id is below 0.
            correct: bool, of the shape of ``labels``, True where the model was right.
            reference: (m, d) embeddings whose mean and deviation whiten, likewise; default ``embeddings``. The paper
                takes the training images'.
            groups: (n,) ids of samples that belong together, such as frames of one video or images of one patient.
                Folds leave a group whole (``StratifiedGroupKFold``), permutations exchange whole groups of equal size,
                and resamples draw them; a class needs as many groups that hold errors, and right answers, as folds.
                A class of which no two samples belong together is treated as without groups.
            progress: is told of the permutations, which take the longest; of a cluster how many classes it has solved.
            cluster: whose workers solve the classes, by a backend that each chooses.
            loss: of the shape of ``labels``, the model's loss of the true class, -log of its probability, for
                ``method="latent"``, which without it knows right and wrong alone. The confidence of the prediction
                cannot stand in for it.

        Raises:
            InputError: for shapes that do not fit, NaN or infinite rows (named), labels that are not integers, or
                losses that cannot be or contradict ``correct``.
            BackendError: from a cluster without a worker that can solve, or with workers of several backends.
        """
        settings, search = self.solver_settings, self.search_settings
        choice = settings.choose_backend()
        if loss is not None and settings.method != Method.LATENT:
            raise InputError(
                'loss was given, but a SVM knows right and wrong alone: use method="latent", or leave it out'
            )
        rows, row_of, ids, right, margin = check_samples(embeddings, labels, correct, loss)
        whitener = rows if reference is None else check_embeddings(reference, "reference", rows.shape[1])
        whitening = _fit_whitening(whitener) if settings.whiten else Whitening.identity(rows.shape[1])
        classes, class_of, n_samples = group_by_class(ids)
        n_errors = np.bincount(class_of, weights=~right, minlength=len(classes)).astype(np.int64)
        together = None if groups is None else check_groups(groups, len(rows))[row_of]
        every = [
            ClassSamples(
                k,
                row_of[own],
                right[own],
                rows,
                whitening,
                None if together is None else shared(together[own]),
                None if margin is None else margin[own],
            )
            for k, own in enumerate(rows_by_class(class_of, n_samples))
        ]
        status = [status_of(one.right, one.groups, settings.cv, search.min_errors) for one in every]
        solved = [one for one in every if status[one.index] is Status.OK]
        reasons = [""] * len(classes)
        for one in solved if search.n_permutations else []:
            reasons[one.index] = why_not_tested(one.right, one.groups, search.fdr)
        most = most_permutations(search, sum(not reasons[one.index] for one in solved))
        alike = ([one for one in solved if one.groups is None], [one for one in solved if one.groups is not None])
        solve = _solver(settings, choice, rows.device, progress, cluster)
        work = partial(distil, search=search, most=most)
        solutions = [solution for part in alike for solution in solve(part, work)]
        start = perf_counter()
        tests = draw_on(solve, [[one for one in part if not reasons[one.index]] for part in alike], search, solutions)
        self._fit = gather(
            solutions,
            classes=classes,
            status=status,
            n_samples=n_samples,
            n_errors=n_errors,
            whitening=whitening,
            backend=solve.choice or choice,
            settings=settings,
            search=search,
            tests=tests,
            reasons=reasons,
            test_seconds=perf_counter() - start + sum(one.test_seconds for one in solutions),
        )
        self._restore = _restorer(embeddings)
        self._warn_about(self._fit)
        return self

    @staticmethod
    def _warn_about(fit: Fit) -> None:
        stuck = fit.classes[~fit.converged.all(axis=1)]
        if len(stuck):
            tol = fit.solver_settings.tol
            warnings.warn(
                f"{len(stuck)} classes stopped before the KKT violation reached tol={tol:g} (class ids "
                f"{stuck[:10].tolist()}): raise max_iter or tol, or drop the largest C; see converged_",
                FdgpuWarning,
                stacklevel=3,
            )

    # --- use --------------------------------------------------------------------------------------------------------

    def transform(self, embeddings: Array) -> Array:
        """Whiten and normalise: (n, d) embeddings to (n, d) unit vectors in the space of ``coef_``.

        Raises:
            InputError: for :class:`fdgpu.rows.Rows`, of which nothing as large is made: transform their blocks.
        """
        if isinstance(embeddings, Rows):
            raise InputError("embeddings are had in parts: pass one of embeddings.blocks(size) at a time")
        fit = self._fitted("coef_")
        return restorer(embeddings)(fit.whitening(check_vectors(embeddings, "embeddings", fit.coef.shape[-1])))

    def fit_transform(self, embeddings: Array, labels: Array, correct: Array, **others: Any) -> Array:
        """Fit, with what else :meth:`fit` takes, and transform the embeddings: a step of a pipeline.

        Example:
            >>> from sklearn.decomposition import PCA
            >>> from sklearn.pipeline import make_pipeline
            >>> vectors = np.random.default_rng(0).normal(size=(200, 8))
            >>> steps = make_pipeline(fdgpu.FailureDirections(), PCA(2))
            >>> steps.fit_transform(vectors, np.zeros(200, int), failuredirections__correct=vectors[:, 0] > -1).shape
            (200, 2)
        """
        return self.fit(embeddings, labels, correct, **others).transform(embeddings)

    def decision_function(self, embeddings: Array, labels: Array, direction: int = 0, loss: Array = None) -> Array:
        """Return (n,) w·x + b of each row under its class's direction: > 0 easy, < 0 hard.

        NaN where the class has no direction, or was not in the fit. For ``labels`` (n, k) of rows that are in several
        classes, (n, k).

        Args:
            embeddings: (n, d), or Rows.
            labels: (n,) or (n, k) class ids.
            direction: which of the class's directions.
            loss: of the shape of ``labels``, each sample's own, -log of the probability of its true class. With
                ``method="latent"`` it adds to the evidence; without, a vector alone decides.

        Raises:
            InputError: for losses that cannot be, or of a fit with ``method="svm"``.
        """
        fit, rows = self._asked(embeddings)
        ids = check_labels(labels, len(rows), several=True)
        if loss is not None and fit.solver_settings.method != Method.LATENT:
            raise InputError(
                'loss was given, but a SVM looks at vectors alone: fit with method="latent", or leave it out'
            )
        margins = None if loss is None else check_loss(loss, ids)
        return _restorer(embeddings)(fit.decisions(rows, ids, [self._checked_direction(direction)], margins)[..., 0])

    def predict(self, embeddings: Array, labels: Array) -> Array:
        """Say for each row whether the model would be right, (n,) bool: whether no direction of its class flags it.

        A class without a direction is predicted as it was seen: right, unless most of its samples were wrong.

        Raises:
            InputError: for a label that the fit has not seen.
        """
        fit, rows = self._asked(embeddings)
        ids = check_labels(labels, len(rows))
        unknown = np.setdiff1d(ids, fit.classes)
        if len(unknown):
            raise InputError(f"labels holds {unknown[:5].tolist()}, which fit has not seen: predict only known classes")
        values = fit.decisions(rows, ids, range(fit.search_settings.n_directions))
        lowest = reduce(torch.fmin, values.unbind(dim=1))
        mostly_right = 2 * fit.n_errors <= fit.n_samples
        usual = to_device(mostly_right[np.searchsorted(fit.classes, ids)], rows.device)
        return _restorer(embeddings)(torch.where(lowest.isnan(), usual, lowest > 0))

    def score_captions(self, captions: Array, reference: Array, class_id: int, direction: int = 0) -> Array:
        """Align captions with a class's direction (paper, 2.2).

        Args:
            captions: (m, d) unit text vectors.
            reference: (d,) unit text vector of the caption that describes the whole class.
            class_id: an entry of ``classes_``.
            direction: which of the class's directions.

        Returns:
            (m,) w·d of the unit differences d = (c − r) / σ, where w is the direction's ``shift_``; most negative is
            hardest. NaN for a caption that equals the reference, and for a class without a direction. With
            ``published`` w·d + b of d = (c − r − μ) / σ, scaled to length 1, μ the images' mean; the reference then
            has a score like any other.
        """
        fit, j = self._fitted("coef_"), self._checked_direction(direction)
        row = fit.index_of(class_id)
        vectors, base = self._captions(captions, reference)
        along = alignments(vectors, base, torch.from_numpy(fit.shift[row, j]), torch.from_numpy(fit.scale))
        return restorer(captions)(along + fit.caption_intercepts(j)[row])

    def caption_directions(self, captions: Array, reference: Array) -> Array:
        """Return (m, d) unit differences d of captions, as :meth:`score_captions` has them; NaN for the reference.

        Captions whose differences point the same way say the same; a product with ``resampled_coef_`` scores them along
        the directions of resamples.
        """
        vectors, base = self._captions(captions, reference)
        return restorer(captions)(caption_differences(vectors, base, torch.from_numpy(self._fitted("coef_").scale)))

    def _captions(self, captions: Array, reference: Array) -> tuple[torch.Tensor, torch.Tensor]:
        fit = self._fitted("coef_")
        d = fit.coef.shape[-1]
        vectors = check_vectors(captions, "captions", d)
        base = check_vectors(torch.atleast_2d(to_torch(reference, "reference")), "reference", d)
        if len(base) != 1:
            raise InputError(f"reference has {len(base)} rows: a class has one reference caption, ({d},)")
        return vectors, fit.caption_origins(base[0])

    def _asked(self, embeddings: Array) -> tuple[Fit, Rows]:
        fit = self._fitted("coef_")
        return fit, check_embeddings(embeddings, "embeddings", fit.coef.shape[-1])

    def _checked_direction(self, direction: int) -> int:
        most = self._fitted("coef_").search_settings.n_directions - 1
        return check_whole(direction, "direction", 0, most, ", the directions of this fit")

    def index_of(self, class_id: int) -> int:
        """Return the row of a class in ``classes_``, ``coef_`` and all other results.

        Raises:
            InputError: for a class that was not fitted.
        """
        return self._fitted("classes_").index_of(class_id)

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write one safetensors file: arrays, and the settings as JSON in its header."""
        self._fitted("classes_").save(Path(path))

    @classmethod
    def load(cls, path: str | Path) -> FailureDirections:
        """Read what :meth:`save` wrote; results come back as NumPy arrays.

        The machine that reads need not have the backend that fitted.

        Raises:
            InputError: if the file is missing, cut short, or not one of ours.
        """
        fit = Fit.load(path)
        made = cls.from_settings(fit.solver_settings, fit.search_settings)
        made._fit = fit
        return made

    # --- scikit-learn, which need not be installed ------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return self._fit is not None

    def __sklearn_tags__(self) -> object:
        """Say what scikit-learn's pipelines and checks ask for: a transformer that needs ``y``, and gives float32."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=True),
            transformer_tags=TransformerTags(preserves_dtype=["float32"]),
            input_tags=InputTags(),
        )


FailureDirections.__doc__ = f"""{FailureDirections.__doc__}
    Args:
{documented(documents_of(SolverSettings, SearchSettings), 8)}

    Attributes (k classes, r directions, d dimensions; arrays are of the kind that ``fit`` was given):
{documented([(f"{name}_", text) for name, text in ESTIMATED.items()], 8)}
    """


def _as_parameters(settings: SolverSettings | SearchSettings) -> dict[str, Any]:
    return {one.name: getattr(settings, one.name) for one in fields(settings)}


def _is_default(name: str, value: object) -> bool:
    default = PARAMETERS[name]
    return value is default or (type(value) is type(default) and value == default)


def _fit_whitening(reference: Rows) -> Whitening:
    if len(reference) < 2:
        raise InputError(f"reference has {len(reference)} row: whitening needs at least 2, or pass whiten=False")
    return Whitening.fit(reference)


def _solver(
    settings: SolverSettings, choice: Choice, device: torch.device, progress: Reporter, cluster: Cluster | None
) -> Solve:
    if cluster is not None:
        return Dealt(cluster, settings, backend_named, device, progress)
    return Here(choice, backend_named(choice.name, device), settings, progress)


def _restorer(embeddings: Array) -> Restore:
    """Return results in the kind of the embeddings; of Rows as tensors where their parts arrive."""
    return restorer(torch.empty(0, device=embeddings.device) if isinstance(embeddings, Rows) else embeddings)


def backend_named(name: str, device: torch.device) -> SolverBackend:
    """Return a backend that :func:`fdgpu.device.choose_backend` has found able to run; one for a GPU is loaded here.

    That one runs where embeddings on ``device`` are, and on the current CUDA device if they are on the host.
    """
    on = device if device.type == "cuda" else torch.device("cuda")
    if name == "torch":
        return TorchBackend(device, lambda: backend_named(choose_backend(Backend.AUTO, device).name, device))
    if name == "triton":
        from fdgpu.directions.triton_backend import TritonBackend

        return TritonBackend(on)
    if name == "cuml":
        from fdgpu.directions.cuml_backend import CumlBackend

        return CumlBackend(on)
    return NumbaBackend()
