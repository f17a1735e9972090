"""An audit's images: looked at before a model is loaded, embedded, fitted by the method that is chosen, ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import rows_finite, to_host
from fdgpu.auditing.columns.inputs import AuditInputs, contradiction, loss_of
from fdgpu.checks import check_name
from fdgpu.cluster import Cluster
from fdgpu.device import Backend
from fdgpu.directions.estimator import FailureDirections
from fdgpu.directions.groups import near_duplicates
from fdgpu.directions.parameters import LATENT_COSTS, PAPER_COSTS, Method, SolverSettings
from fdgpu.directions.samples import margin_of
from fdgpu.embedding.embedder import Alongside, ImageEmbedder
from fdgpu.embedding.picture import Treatment
from fdgpu.embedding.sources import ImageSource, IndexedSource
from fdgpu.errors import InputError
from fdgpu.findings import GroupedBy, Skipped, Split
from fdgpu.progress import Reporter, timed
from fdgpu.rows import Rows, TensorRows
from fdgpu.store.filling import fill
from fdgpu.store.pieces import Workers
from fdgpu.store.writing import NOT_FINITE

LOOKED_AT = 8  # images, before a model is loaded; where none of these can be used, all others are looked at too
MOST_REASONS = 3  # in an error
UNKNOWN = "the probability of the true class is not known"


def check_some_usable(source: ImageSource, inputs: AuditInputs | None) -> None:
    """Look at validation images, spread over all, until one can be used: a model is loaded for these."""
    if not isinstance(source, IndexedSource):
        return
    rows = np.arange(len(source)) if inputs is None else np.flatnonzero(inputs.splits == Split.VAL)
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int)]
    reasons: list[tuple[str, str]] = []
    for row in dict.fromkeys((*spread.tolist(), *rows.tolist())):
        reason = source.reason(row)
        if reason is None:
            return
        reasons.append((source.sample(row).id, reason))
    raise none_usable(reasons)


def none_usable(reasons: Sequence[tuple[str, str]]) -> InputError:
    """Say why images, each with its reason, cannot be used: the commonest reason first, with an example each."""
    example = {reason: path for path, reason in reversed(reasons)}
    counts = Counter(reason for _, reason in reasons).most_common(MOST_REASONS)
    said = "; ".join(f"{n:,} × {reason} (such as {example[reason]})" for reason, n in counts)
    return InputError(f"no image of the split 'val' can be used: {said}")


@dataclass(frozen=True)
class Embedded:
    """Every image as the embedder saw it.

    ``vectors`` are n rows of d finite numbers, which come to its device, and mean nothing where an image is not
    ``readable`` (n,); ``skipped`` says why.
    ``labels`` and ``splits`` came with the images, None where they did not.
    """

    ids: list[str]
    vectors: Rows
    readable: NDArray[np.bool_]
    skipped: tuple[Skipped, ...]
    treated: Mapping[Treatment, int]
    fingerprint: str
    labels: list[object]
    splits: list[str | None]

    @classmethod
    def of(
        cls,
        source: ImageSource,
        embedder: ImageEmbedder,
        report: Reporter,
        alongside: Alongside | None = None,
        store: Path | None = None,
        workers: Workers | None = None,
    ) -> Embedded:
        """Embed a source, through a store where there is one, and let a model answer its images; by workers or here."""
        if store is None:
            embeddings = embedder.embed(source, report, fingerprint=True, alongside=alongside)
        else:
            embeddings = fill(store, source, embedder, report, alongside, workers=workers)
        ids, vectors, reasons = embeddings.ids, embeddings.vectors, embeddings.unreadable
        if isinstance(vectors, Rows):
            readable = np.array([own not in reasons for own in ids], bool)
        else:
            finite = rows_finite(vectors)
            readable = to_host(finite, "which images have a vector").astype(bool)
            if not readable.all():
                vectors = vectors.masked_fill(~finite[:, None], 0.0)
            vectors = TensorRows(vectors.to(embedder.kept_in), finite=True)
        skipped = (Skipped(ids[row], reasons.get(ids[row], NOT_FINITE)) for row in np.flatnonzero(~readable))
        return cls(
            ids, vectors, readable, tuple(skipped), embeddings.treated, embeddings.fingerprint, embeddings.labels,
            embeddings.splits,
        )  # fmt: skip

    def without(self, reasons: Mapping[int, str]) -> Embedded:
        """Skip further images, each with its reason by row."""
        if not reasons:
            return self
        readable = self.readable.copy()
        readable[list(reasons)] = False
        further = (Skipped(self.ids[row], reason) for row, reason in reasons.items())
        return replace(self, readable=readable, skipped=(*self.skipped, *further))


# --- by which method directions are fitted, and why ------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """The method of a fit, and why it; ``loss`` (N,) of every sample, None where it knows right and wrong alone."""

    method: str
    reason: str
    loss: NDArray[np.float64] | None = None

    def of(self, fit: FailureDirections) -> FailureDirections:
        """Return the estimator with this method, and its grid where no other was given: the same where it has it."""
        settings = fit.solver_settings
        if settings.method == self.method:
            return fit
        grid = PAPER_COSTS if settings.Cs == LATENT_COSTS else settings.Cs  # of which the latent method makes its own
        return FailureDirections.from_settings(replace(settings, method=self.method, Cs=grid), fit.search_settings)


def check_method(method: object, directions: FailureDirections | None) -> str | None:
    """Return what ``audit`` was asked for.

    Raises:
        InputError: for what is no method, or another one than that of the estimator beside it.
    """
    if method is None:
        return None
    name = check_name(method, "method", ("auto", *Method))
    if directions is not None and name not in ("auto", directions.method):
        raise InputError(f"method is '{name}', and that of directions '{directions.method}': leave one of them out")
    return name


def choose_method(
    asked: str | None, directions: FailureDirections | None, inputs: AuditInputs, fitted: NDArray[np.bool_]
) -> Chosen:
    """Choose the method of an audit.

    Args:
        asked: "auto", or a method by name; None for that of ``directions``, and without any for "auto".
        directions: an estimator that was given.
        inputs: of the audit.
        fitted: (n,) the images that are fitted.

    Raises:
        InputError: if the latent method was asked for, and ``true_probability`` is not that of the true class.
    """
    settings = directions.solver_settings if directions else SolverSettings()
    loss, odd = None, ""
    if inputs.true_probability is not None:
        samples = inputs.of_samples(fitted) & (inputs.labels >= 0)
        confidence = None if inputs.confidence is None else inputs.confidence[samples]
        own = inputs.true_probability[samples], inputs.correct[samples], inputs.labels[samples]
        odd, loss = contradiction(*own, confidence), loss_of(inputs.true_probability)
    method: str
    if asked == "auto" or (asked is None and directions is None):
        method, reason = _automatic(settings, loss is not None, odd)
    else:
        method = settings.method if asked is None else asked
        reason = "that of the directions that were given" if asked is None else "asked for by name"
    if method == Method.SVM:
        return Chosen(method, reason)
    if odd:
        raise InputError(odd)
    return Chosen(method, reason if loss is not None else f"{reason}; {UNKNOWN}, but right and wrong are", loss)


def _automatic(settings: SolverSettings, known: bool, odd: str) -> tuple[Method, str]:
    """Return what "auto" takes, and why."""
    if settings.published:
        return Method.SVM, "auto: that of the published code"
    if settings.backend not in (Backend.AUTO, Backend.TORCH):
        return Method.SVM, f"auto: that of the backend {settings.backend}"
    if not known or odd:
        return Method.SVM, f"auto: {'true_probability contradicts the predictions' if odd else UNKNOWN}"
    return Method.LATENT, "auto: the probability of the true class is known"


# --- the fit, and every image after it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Together:
    """Which of the fit's images belong together: m ids, or None where each is alone, and by what they were told."""

    groups: NDArray[np.int64] | None
    grouped_by: GroupedBy

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Images of each group of several."""
        counts = np.empty(0, np.int64) if self.groups is None else np.unique(self.groups, return_counts=True)[1]
        return np.asarray(counts[counts > 1])

    @property
    def n_groups(self) -> int:
        """Groups of several images."""
        return len(self.sizes)

    @property
    def n_grouped(self) -> int:
        """Images in them."""
        return int(self.sizes.sum())

    @classmethod
    def of(cls, given: NDArray[np.int64] | None, vectors: Rows, labels: NDArray[np.int64], look: bool) -> Together:
        """Take what was given, or look for near-duplicates among the images of each class; of conditions, among all."""
        if given is not None:
            return cls(given, GroupedBy.GIVEN)
        if not look:
            return cls(None, GroupedBy.NOTHING)
        among = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
        return cls(near_duplicates(vectors, among), GroupedBy.NEAR_DUPLICATES)


@dataclass(frozen=True)
class AuditImages:
    """Every image of the audit after the fit, n rows; of its samples N, which are the images unless it has conditions.

    ``vectors`` come to the embedder's device, and mean nothing where an image is not ``readable`` (n,); ``decisions``
    (N, r) are NaN there, and where its class has no such direction. Examples and figures come from the split
    ``shown_from``; ``whitened_by`` is the split that whitened, and ``together`` says which images of the fit were one
    piece of evidence. ``decisions`` are by the vector alone; ``with_loss`` (N, r) adds what each sample's own loss
    says, and is None where the method does not listen to losses, or none are known. ``evidence`` (N,) numbers the
    pieces of evidence of the fit, to which samples that belong together are one; -1 of samples that it was not fitted
    on.
    """

    inputs: AuditInputs
    ids: list[str]
    vectors: Rows
    readable: NDArray[np.bool_]
    decisions: NDArray[np.float64]
    shown_from: Split
    whitened_by: Split = Split.VAL
    together: Together = Together(None, GroupedBy.NOTHING)
    with_loss: NDArray[np.float64] | None = None
    evidence: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def ranks(self) -> NDArray[np.float64]:
        """(N, r) the values by which samples are ranked: all that is known of each."""
        return self.decisions if self.with_loss is None else self.with_loss

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(N,) the samples that examples and figures come from."""
        of_images = self.readable & (self.inputs.splits == self.shown_from)
        return np.asarray(self.inputs.of_samples(of_images) & (self.inputs.labels >= 0))

    def rows_of(self, k: int) -> NDArray[np.int64]:
        """Return the shown samples of a class, ascending."""
        rows, starts = self._sorted_by_class
        return rows[starts[k] : starts[k + 1]]

    @cached_property
    def _sorted_by_class(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One sort for all classes: the shown samples by class, and where each class starts among them."""
        rows = np.flatnonzero(self.shown)
        rows = rows[np.argsort(self.inputs.labels[rows], kind="stable")]
        return rows, np.searchsorted(self.inputs.labels[rows], np.arange(len(self.inputs.class_names) + 1))


def fit_images(
    inputs: AuditInputs,
    embedded: Embedded,
    loss: NDArray[np.float64] | None,
    look: bool,
    seconds: dict[str, float],
    report: Reporter,
    cluster: Cluster | None,
    fit: FailureDirections,
    kept: NDArray[np.bool_] | None = None,
) -> AuditImages:
    """Fit on val, or on those of its samples that are kept; return every image with its decision values.

    Args:
        inputs: of the audit.
        embedded: its images.
        loss: (N,) of every sample; None where the method listens to none.
        look: for near-duplicates, which are one piece of evidence, where groups were not given.
        seconds: of each stage, to which those of the fit are added.
        report: shows the stages.
        cluster: whose workers solve the classes.
        fit: the estimator.
        kept: (N,) the samples to fit; None for all.

    Raises:
        InputError: where no image of val can be used.
    """
    vectors, readable = embedded.vectors, embedded.readable
    val, train = (readable & (inputs.splits == split) for split in (Split.VAL, Split.TRAIN))
    if not val.any():
        of_val = {embedded.ids[row] for row in np.flatnonzero(inputs.splits == Split.VAL)}
        raise none_usable([(one.path, one.reason) for one in embedded.skipped if one.path in of_val])
    whitened_by = Split.TRAIN if train.sum() >= 2 else Split.VAL
    reference = vectors.chosen(np.flatnonzero(train)) if whitened_by is Split.TRAIN else None
    every, correct = inputs.by_image(inputs.labels), inputs.by_image(inputs.correct)
    judged = every
    if kept is not None:  # what is not known of a sample is left out of the fit
        judged = inputs.by_image(np.where(kept, inputs.labels, -1))
        val &= (judged.reshape(len(inputs), -1) >= 0).any(axis=1)
    fitted, labels = vectors.chosen(np.flatnonzero(val)), judged[val]
    with timed(seconds, "group images", report):
        together = Together.of(None if inputs.groups is None else inputs.groups[val], fitted, labels, look)
    with timed(seconds, "fit directions", report):
        own_loss = None if loss is None else inputs.by_image(loss)[val]
        fit.fit(fitted, labels, correct[val], reference, together.groups, report, cluster, own_loss)
    directions = range(fit.fitted.search_settings.n_directions)
    if fit.fitted.search_settings.n_permutations:
        seconds["test directions"] = seconds.get("test directions", 0.0) + fit.test_seconds_
        seconds["fit directions"] -= fit.test_seconds_
    with timed(seconds, "decision values", report):
        along = fit.fitted.decisions(vectors, every, directions)
        decisions = to_host(along, "decision values").reshape(-1, len(directions))
    decisions[inputs.of_samples(~readable)] = np.nan
    with_loss = None
    if loss is not None:
        with_loss = decisions + fit.fitted.by_margin(margin_of(loss), inputs.labels, directions)
    fit.as_numpy()  # vectors are on a device, and what was found is read on the host
    shown_from = inputs.first_split(readable, Split.TEST, Split.VAL)
    pieces = np.full(len(inputs), -1)
    pieces[val] = np.arange(val.sum()) if together.groups is None else together.groups
    evidence = np.where(judged.ravel() >= 0, inputs.of_samples(pieces), -1)
    return AuditImages(
        inputs, embedded.ids, vectors, readable, decisions, shown_from, whitened_by, together, with_loss, evidence
    )
