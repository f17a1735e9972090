"""Is it the model, or the data? Every error of val and test is sorted before a failure is named.

A *duplicate* is the picture of another split, or of the same split with another label. A *wrong label* looks as what
the model took it for usually looks (:mod:`fdgpu.auditing.label_errors`). All others are the model's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import to_host
from fdgpu.auditing.columns.inputs import AuditInputs
from fdgpu.auditing.gathering import examples
from fdgpu.auditing.images import AuditImages, Embedded
from fdgpu.auditing.label_errors import LabelErrors, Votes, find_label_errors
from fdgpu.directions.fit import Fit
from fdgpu.findings import Cause, Causes, CleanedClass, SortedImage, Split
from fdgpu.index.exact import mean_row, nearest

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
LOOKED_AT = 24  # nearest images of each split, the image itself among its own
VOTES = 20  # of these have a say in what an image looks like
MOST_PAIRS = {"cpu": 10_000_000_000, "cuda": 1_000_000_000_000}  # of images that are compared
ALIKE = 0.1  # most of 1 - cosine between duplicates
NEAREST = 1e-5  # less is rounding
SHELL = 2.25  # times the distance 1 - cosine that counts as near
OUTNUMBER = 2.0  # pairs that are near, for each in the shell around
STEPS = 16  # distances that are tried, for each factor of SHELL
LISTED = 1000  # images of each kind in audit.json; causes.csv has all
NOT_ALL = (
    "{looked:,} of {all:,} images of val and test were compared with all others, the wrong ones first: for more, the "
    "pairs would be more than {most:,}. Duplicates among the others are not known."
)


@dataclass(frozen=True)
class Neighbours:
    """The nearest images of each split, nearest first.

    Attributes:
        of: (q,) images that were looked up.
        images: (q, k) which are near each.
        distances: (q, k) 1 - cosine around the mean; infinite for the image itself, and where there are no more.
        reach: (q,) distance within which all images of every split are among them.
    """

    of: Ints
    images: Ints
    distances: Floats
    reach: Floats


@dataclass(frozen=True)
class SortedErrors:
    """What was found of n images, N samples.

    Attributes:
        twins: (n,) the image that each is a duplicate of; -1 of none.
        labels: of the errors that are no duplicates.
        looked_up: (n,) bool.
        note: what a reader should know; "" for nothing.
    """

    twins: Ints
    labels: LabelErrors
    looked_up: Bools
    note: str = ""

    def kept(self, inputs: AuditInputs) -> Bools:
        """(N,) bool, samples that a direction is fitted to which leaves out duplicates and wrong labels."""
        return np.asarray(~self.labels.wrong & inputs.of_samples(self.twins < 0))

    def cause_of(self, inputs: AuditInputs, row: int) -> Cause:
        """Return why a sample is wrong."""
        if self.twins[inputs.image_of(np.array([row]))[0]] >= 0:
            return Cause.DUPLICATE
        return Cause.LABEL if self.labels.wrong[row] else Cause.MODEL


def sort_errors(inputs: AuditInputs, embedded: Embedded) -> SortedErrors:
    """Sort the errors of val and test; vectors stay where they lie, and each image's nearest come down."""
    near, note = look_up(inputs, embedded)
    looked_up = np.zeros(len(inputs), bool)
    looked_up[near.of] = True
    labels = inputs.labels.reshape(len(inputs), -1)  # (n, k), k = 1 without conditions
    within = duplicate_distance(near)
    twins = _twins(near, within, labels, inputs.splits, inputs.groups)
    asked = inputs.of_samples(looked_up & (twins < 0)) & (inputs.labels >= 0)
    found = find_label_errors(
        embedded.vectors,
        inputs.image_of(np.arange(len(inputs.labels))),
        inputs.labels,
        inputs.predictions,
        _votes(near, within, labels, inputs),
        asked,
    )
    return SortedErrors(twins, found, looked_up, note)


def look_up(inputs: AuditInputs, embedded: Embedded) -> tuple[Neighbours, str]:
    """Find the nearest images of each split, for all of val and test, or for as many as time allows."""
    vectors, readable = embedded.vectors, embedded.readable
    unseen = np.flatnonzero(readable & (inputs.splits != Split.TRAIN))
    is_wrong: Bools = np.asarray(inputs.by_image(~inputs.correct & (inputs.labels >= 0))).reshape(len(inputs), -1)
    wrong = np.any(is_wrong, axis=1)[unseen]
    most = MOST_PAIRS.get(vectors.device.type, MOST_PAIRS["cuda"]) // max(1, int(readable.sum()))
    first, rest = unseen[wrong], unseen[~wrong]
    asked = np.sort(np.concatenate([_spread(first, most), _spread(rest, most - min(most, len(first)))]))
    note = ""
    if len(asked) < len(unseen):
        note = NOT_ALL.format(looked=len(asked), all=len(unseen), most=MOST_PAIRS[vectors.device.type])
    mean = mean_row(vectors, np.flatnonzero(readable))
    images, distances, reach = [], [], np.full(len(asked), np.inf)
    for split in Split:
        keys = np.flatnonzero(readable & (inputs.splits == split))
        if not len(keys) or not len(asked):
            continue
        cosines, at = nearest(vectors, asked, keys, LOOKED_AT, mean)
        own = 1 - to_host(cosines, f"how near the nearest images of {split} are").astype(np.float64)
        found = keys[to_host(at, f"which images of {split} are nearest")]
        if len(keys) > own.shape[1]:
            reach = np.minimum(reach, own[:, -1])
        images.append(found)
        distances.append(np.where(found == asked[:, None], np.inf, own.clip(NEAREST)))
    if not images:
        return Neighbours(asked, np.empty((len(asked), 0), np.int64), np.empty((len(asked), 0)), reach), note
    every, far = np.concatenate(images, axis=1), np.concatenate(distances, axis=1)
    order = np.argsort(far, axis=1, kind="stable")
    return Neighbours(asked, np.take_along_axis(every, order, 1), np.take_along_axis(far, order, 1), reach), note


def duplicate_distance(near: Neighbours) -> float:
    """Return the largest distance of duplicates; 0 where there are none.

    As :func:`fdgpu.directions.near_duplicates` does within a class: at least twice as many pairs are nearer as are in
    the shell around, of 1.5 times the radius. Of independent images there are more, the farther one looks. Images with
    more neighbours in the shell than were looked up are left out of the count.
    """
    step = np.log(SHELL) / STEPS
    bins = int(np.log(ALIKE * SHELL / NEAREST) / step)
    known = np.isfinite(near.distances)
    at = np.floor(np.log(near.distances[known] / NEAREST) / step + 1e-9).astype(np.int64)
    reach = np.floor(np.log(np.minimum(near.reach, 2.0).clip(NEAREST) / NEAREST) / step)
    of_row = np.broadcast_to(reach[:, None], known.shape)[known].astype(np.int64)
    inside = at < bins
    table = np.zeros((bins, bins + 1), np.int64)  # pairs by distance, and by how far their image's are known
    np.add.at(table, (at[inside], np.minimum(of_row[inside], bins)), 1)
    within = table[:, ::-1].cumsum(axis=1)[:, ::-1].cumsum(axis=0)  # as near, of images known as far or farther
    tried = np.arange(bins - STEPS)
    close, all_close = within[tried, tried + STEPS + 1], within[tried + STEPS, tried + STEPS + 1]
    holds = np.flatnonzero((close > 0) & (close >= OUTNUMBER * (all_close - close)))
    return float(NEAREST * np.exp((holds[-1] + 1) * step)) if len(holds) else 0.0


def _spread(rows: Ints, most: int) -> Ints:
    """Return at most so many of the rows, evenly spread."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _twins(near: Neighbours, within: float, labels: Ints, splits: NDArray[np.str_], groups: Ints | None) -> Ints:
    """Return the duplicate (n,) of each image: in another split, or else with another label and of no common group."""
    own, other = labels[near.of][:, None], labels[near.images]
    differ = ((own != other) & (own >= 0) & (other >= 0)).any(axis=2)
    if groups is not None:
        differ &= groups[near.of][:, None] != groups[near.images]
    twin = (near.distances <= within) & ((splits[near.of][:, None] != splits[near.images]) | differ)
    found = np.full(len(labels), -1)
    rows, columns = np.nonzero(twin)
    has, first = np.unique(rows, return_index=True)
    found[near.of[has]] = near.images[has, columns[first]]
    return found


def _votes(near: Neighbours, within: float, labels: Ints, inputs: AuditInputs) -> Votes:
    """Return the classes of each sample's nearest neighbours, weighed by the size of the class.

    Neither duplicates nor images of the same group have a say: they are not evidence of their own.
    """
    n, k = labels.shape
    allowed = np.isfinite(near.distances) & (near.distances > within)
    if inputs.groups is not None:
        allowed &= inputs.groups[near.of][:, None] != inputs.groups[near.images]
    first = np.argsort(~allowed, axis=1, kind="stable")[:, :VOTES]  # those that have a say, nearest first
    images, has = np.take_along_axis(near.images, first, 1), np.take_along_axis(allowed, first, 1)
    classes = np.full((n, k, first.shape[1]), -1)
    classes[near.of] = np.where(has[..., None], labels[images], -1).swapaxes(1, 2)
    sizes = np.bincount(labels[labels >= 0], minlength=1).clip(1)
    weights = np.where(classes >= 0, 1 / sizes[classes.clip(0)], 0.0)
    confidence = np.zeros(n * k) if inputs.confidence is None else inputs.confidence
    return Votes(classes.reshape(n * k, -1), weights.reshape(n * k, -1), confidence)


# --- for the page, audit.json and causes.csv ------------------------------------------------------------------------


def sorted_images(found: SortedErrors, images: AuditImages) -> list[SortedImage]:
    """Describe every error of val and test that was looked up, and right images that are duplicates, by cause."""
    inputs = images.inputs
    wrong = inputs.of_samples(found.looked_up) & (inputs.labels >= 0) & ~inputs.correct
    doubled = inputs.of_samples(found.looked_up & (found.twins >= 0)) & (inputs.labels >= 0)
    rows = np.flatnonzero(wrong | doubled)
    of = inputs.image_of(rows)
    described = [
        SortedImage(
            example=example,
            label=inputs.class_names[inputs.labels[row]],
            split=Split(str(inputs.splits[image])),
            cause=found.cause_of(inputs, row),
            chance=float(found.labels.chance[row]),
            twin="" if (twin := int(found.twins[image])) < 0 else images.ids[twin],
            twin_label="" if twin < 0 else inputs.label_of(twin),
            twin_split="" if twin < 0 else str(inputs.splits[twin]),
        )
        for row, image, example in zip(rows.tolist(), of.tolist(), examples(images, rows), strict=True)
    ]
    kinds = list(Cause)

    def place(one: SortedImage) -> tuple[int, bool, float]:
        return kinds.index(one.cause), one.example.correct, 0.0 if math.isnan(one.chance) else -one.chance

    return sorted(described, key=place)


def cause_column(found: SortedErrors, images: AuditImages) -> NDArray[np.str_]:
    """Return (N,) in words what else than the model a sample's error may be due to, "" for nothing."""
    doubled = images.inputs.of_samples(found.twins >= 0)
    return np.where(doubled, "duplicate", np.where(found.labels.wrong, "label likely wrong", ""))


def causes(found: SortedErrors, described: Sequence[SortedImage], class_names: Sequence[str]) -> Causes:
    """Count, and list the first of each kind."""
    kinds = list(Cause)
    by_class = {name: [0, 0, 0] for name in class_names}
    for one in described:
        if not one.example.correct:
            by_class[one.label][kinds.index(one.cause)] += 1
    counts = np.array(list(by_class.values()), np.int64).reshape(-1, len(kinds)).sum(axis=0).tolist()
    listed = {kind: tuple([one for one in described if one.cause is kind][:LISTED]) for kind in kinds}
    return Causes(
        n_label=counts[0],
        n_duplicate=counts[1],
        n_model=counts[2],
        n_right_duplicates=sum(one.example.correct for one in described),
        estimated_label=found.labels.number,
        expected_false=found.labels.expected_false,
        reason=found.labels.reason,
        label=listed[Cause.LABEL],
        duplicate=listed[Cause.DUPLICATE],
        model=listed[Cause.MODEL],
        by_class={name: (own[0], own[1], own[2]) for name, own in by_class.items()},
    )


def cleaned(before: Fit, after: Fit, images: AuditImages, kept: Bools) -> tuple[CleanedClass, ...]:
    """Say, class by class, what changes when directions are fitted without duplicates and wrong labels."""
    places = [{int(k): i for i, k in enumerate(fit.classes)} for fit in (before, after)]
    fitted = images.inputs.of_samples(images.readable & (images.inputs.splits == Split.VAL))
    found = []
    for k, name in enumerate(images.inputs.class_names):
        rows = images.rows_of(k)
        correct, own = images.inputs.correct[rows], kept[rows]
        at = tuple(own_place.get(k) for own_place in places)
        found.append(
            CleanedClass(
                name,
                left_out=int((fitted & (images.inputs.labels == k) & ~kept).sum()),
                accuracy=_mean(correct),
                accuracy_clean=_mean(correct[own]),
                cv_score=_score(before, at[0]),
                cv_score_clean=_score(after, at[1]),
                significant=at[0] is not None and bool(before.significant[at[0], 0]),
                significant_clean=at[1] is not None and bool(after.significant[at[1], 0]),
                cosine=float("nan") if at[0] is None or at[1] is None else _cosine(before, after, (at[0], at[1])),
            )
        )
    return tuple(found)


def _mean(values: Bools) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _score(fit: Fit, at: int | None) -> float:
    return float("nan") if at is None else float(fit.cv_score[at, 0])


def _cosine(before: Fit, after: Fit, at: tuple[int, int]) -> float:
    """Return the cosine between two directions of the space that was given, as whitening differs."""
    one, other = (fit.coef[i, 0] / fit.scale for fit, i in zip((before, after), at, strict=True))
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths > 0 else float("nan")
