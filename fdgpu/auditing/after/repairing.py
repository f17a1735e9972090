"""What to train on after an audit: the hardest of a pool, weights of the training set, pictures of hard captions.

Each way leaves a manifest: a CSV with a row an image (``path``, ``class``, ``decision_value``, ``weight``, ``why``),
and a JSON of the same name that says how it came about. ``docs/repair.md`` describes both.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import pdtrc

from fdgpu.arrays import to_host
from fdgpu.auditing.columns.pairing import COLUMNS, Paired, listed, pair
from fdgpu.auditing.columns.tables import ColumnNames
from fdgpu.auditing.outputs import write_json
from fdgpu.auditing.result import AuditResult, Failure, PastAudit
from fdgpu.auditing.space import Embedder, loaded_embedder
from fdgpu.checks import check_whole, shown
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.sources import FileSource, ImageSource
from fdgpu.errors import InputError
from fdgpu.files import writable_folder, write_atomically
from fdgpu.findings import Split
from fdgpu.fingerprint import weights_digest
from fdgpu.progress import OneBar, Reporter
from fdgpu.repair.selection import hardest, up_weights
from fdgpu.rows import Rows, TensorRows
from fdgpu.store.filling import fill
from fdgpu.version import __version__

SCHEMA = "fdgpu.repair/1"
HEADER = ("path", "class", "decision_value", "weight", "why")
SAME_IMAGE = 1 - 1e-5  # least cosine of two embeddings of one image, whose batches differ
CHANCE = 1e-3  # most probability that so many files have the same name and value and are not the same
SAME_VALUE = 1e-4  # how far its decision values may be apart, of their deviation in the class
WIDE = 100  # times that, within which other values are counted, for how many agree by chance
HELD_OUT = (Split.VAL, Split.TEST)
BLOCK = 1 << 16  # vectors of a store at a time


@dataclass(frozen=True)
class Manifest:
    """What a way of repair wrote: ``file``, a CSV, with ``rows`` images, by class ``counts``."""

    file: Path
    rows: int
    counts: dict[str, int]


def repair_by_pool(
    audit: str | Path | AuditResult,
    pool: object,
    out: str | Path,
    *,
    k: int = 100,
    labels: object = None,
    columns: ColumnNames | None = None,
    allow_outside: bool = False,
    embedder: Embedder = None,
    progress: Reporter | None = None,
) -> Manifest:
    """Choose the ``k`` hardest images of a pool for each class with a significant failure (paper, 2.3 and A.5).

    An image is as hard as the lowest of its decision values along the class's significant directions.

    Args:
        audit: its folder, or its result.
        pool: images that the model was not trained on and the audit did not see, with labels: a folder with a folder a
            class, or what else :func:`fdgpu.audit` takes.
        out: folder for ``pool.csv`` and ``pool.json``.
        k: images of each class.
        labels: of the pool, where it has none: a table, or a mapping of path to label.
        columns: what a table calls its columns.
        allow_outside: take paths of a table that lead out of the folder.
        embedder: that of the audit; by default the one that it names.
        progress: a reporter; by default a bar where a person watches standard error.

    Raises:
        InputError: for an audit without a significant failure, a pool that holds images on which the audit fits or
            tests, fewer than ``k`` images of a class, or another embedder.

    Example:
        >>> greys = [np.full((32, 32, 3), level, np.uint8) for level in range(5, 250, 20)]
        >>> pool = [(image, name) for image in greys for name in ("cat", "dog")]
        >>> made = fdgpu.auditing.repair_by_pool(audited, pool, tmp_path, k=2)
        >>> made.file.read_text().splitlines()[0], len(made.file.read_text().splitlines())
        ('path,class,decision_value,weight,why', 3)
    """
    past = PastAudit.of(audit, "audit")
    failures = failures_of(past)
    k = check_whole(k, "k", 1)
    paired = labelled(pool, labels, columns, allow_outside)
    with OneBar(progress) as report:
        seen = Seen.of(past, failures, paired, embedder_of(past, embedder), report)
    same, checked = _held_out_among(past, failures, seen)
    if len(same):
        raise InputError(
            f"the pool holds {len(same)} images that the audit fits or tests on, the first is "
            f"{shown(seen.ids[same[0]])} ({checked}): take them out, or after training on them no test says anything"
        )
    counts = {name: int((seen.names == name).sum()) for name in failures}
    few = next((name for name, n in counts.items() if n < k), None)
    if few is not None:
        raise InputError(
            f"the pool has {counts[few]} images of {shown(few)} that can be read, k is {k}: lower k, or add images"
        )
    numbers = np.unique(seen.names, return_inverse=True)[1]
    chosen = hardest(seen.values, numbers, k)
    where = _PathsFrom(Path(out), paired.source)
    rows = [
        (
            where(seen.ids[row]),
            seen.names[row],
            seen.values[row],
            1.0,
            f"among the {k} hardest of its class in the pool",
        )
        for row in chosen
    ]
    return write_manifest(
        past, failures, Path(out) / "pool.csv", rows, {"k": k, "n_pool": len(seen.ids), "checked": checked}
    )


def repair_by_weights(
    audit: str | Path | AuditResult,
    out: str | Path,
    train: object = None,
    *,
    factor: float = 2.0,
    labels: object = None,
    columns: ColumnNames | None = None,
    allow_outside: bool = False,
    embedder: Embedder = None,
    store: str | Path | None = None,
    progress: Reporter | None = None,
) -> Manifest:
    """Weigh the losses of the training images that are predicted to fail (paper, A.2): ``factor`` on the hard side.

    Args:
        audit: its folder, or its result.
        out: folder for ``weights.csv``, which has a row for each training image, and ``weights.json``.
        train: the training images with their labels, as ``pool`` of :func:`repair_by_pool`; by default those of the
            split train in the audit's store of embeddings.
        factor: weight of an image on the hard side; the paper doubles.
        labels: see :func:`repair_by_pool`.
        columns: likewise.
        allow_outside: likewise.
        embedder: likewise.
        store: folder that keeps embeddings: training images that it holds, under the same ids, are not embedded again.
        progress: likewise.

    Raises:
        InputError: for an audit without a significant failure, no training images, or another embedder.

    Example:
        >>> train = [(np.full((32, 32, 3), level, np.uint8), name) for level in (20, 220) for name in ("cat", "dog")]
        >>> made = fdgpu.auditing.repair_by_weights(audited, tmp_path, train)
        >>> [float(line.split(",")[3]) for line in made.file.read_text().splitlines()[1:]]  # the dark cat weighs two
        [2.0, 1.0, 1.0, 1.0]
    """
    past = PastAudit.of(audit, "audit")
    failures = failures_of(past)
    if train is None:
        ids, names, values = _stored_training_images(past, failures)
    else:
        paired = labelled(train, labels, columns, allow_outside)
        with OneBar(progress) as report:
            seen = Seen.of(past, failures, paired, embedder_of(past, embedder), report, True, store)
        ids, names, values = seen.ids, seen.names, seen.values
    weights = up_weights(values, factor)
    why = np.where(values < 0, "on the hard side of its class", "")
    rows = list(zip(ids, names, values, weights.tolist(), why, strict=True))
    return write_manifest(past, failures, Path(out) / "weights.csv", rows, {"factor": factor})


def labelled(
    images: object, labels: object = None, columns: ColumnNames | None = None, allow_outside: bool = False
) -> Paired:
    """Lay labels beside images: a table or a mapping by path, the source's own, or the names of folders.

    Raises:
        InputError: as :func:`fdgpu.auditing.columns.pairing.pair`.
    """
    given = {**dict.fromkeys(COLUMNS), "labels": labels}
    return pair(images, given, None, allow_outside, names=columns, answered=True)


# --- the audit --------------------------------------------------------------------------------------------------------


def failures_of(past: PastAudit) -> dict[str, list[Failure]]:
    """Return the significant failures by class.

    Raises:
        InputError: where there is none, or images have several conditions.
    """
    if past.document["conditions"]:
        raise InputError(
            f"{past.name} is of several conditions an image, which repair does not take: audit one condition, as a "
            "class with and one without it"
        )
    found: dict[str, list[Failure]] = {}
    for failure in past.failures:
        found.setdefault(failure.class_name, []).append(failure)
    if not found:
        known = [one["q_value"] for one in past.document["classes"] if one["q_value"] is not None]
        why = f"the smallest q is {min(known):.2g}" if known else "nothing was tested: audit with permutations"
        raise InputError(
            f"{past.name} has no significant failure, so that nothing says what to repair ({why}): audit more images, "
            "or leave the model as it is"
        )
    return found


def embedder_of(past: PastAudit, embedder: Embedder) -> ImageEmbedder:
    """Return the audit's embedder.

    Raises:
        InputError: for another one.
    """
    model = past.document["model"]
    made = loaded_embedder(model if embedder is None else embedder)
    digest = past.document["model_fingerprint"]
    if digest is not None and made.model is not None and weights_digest({"model": made.model}) != digest:
        raise InputError(
            f"{past.name} was embedded by {model} with other weights than those of {made.name}: pass the audit's "
            "embedder (--model), with the same weights and precision"
        )
    if made.preprocessing != past.document["preprocessing"]:
        raise InputError(
            f"{past.name} has images that were {past.document['preprocessing']}, {made.name} takes them "
            f"{made.preprocessing}: pass the embedder as the audit had it"
        )
    return made


# --- images beside their decision values ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Images (n) of classes that the audit knows: ids, class names, the lowest value along significant directions."""

    ids: list[str]
    names: NDArray[np.str_]
    values: NDArray[np.float64]
    vectors: torch.Tensor

    @classmethod
    def of(
        cls,
        past: PastAudit,
        failures: dict[str, list[Failure]],
        paired: Paired,
        embedder: ImageEmbedder,
        report: Reporter,
        all_classes: bool = False,
        store: str | Path | None = None,
    ) -> Seen:
        """Embed what is needed of images with labels; of classes without a failure the value is NaN.

        Raises:
            InputError: if no image has a class that the audit knows.
        """
        source, names = paired.source, [one["name"] for one in past.document["classes"]]
        embed = partial(embedder.embed, progress=report)
        if store is not None:
            embed = partial(fill, Path(store), embedder=embedder, progress=report)
        wanted = set(names) if all_classes else set(failures)
        beforehand = None if source.ids is None else _labels_of(paired, source.ids, None)
        if source.ids is not None and beforehand is not None:
            label_of = dict(zip(source.ids, beforehand, strict=True))
            known = _named(beforehand, source, names)
            kept = [own for own, name in zip(source.ids, known, strict=True) if name in wanted]
            _check_some(kept, beforehand, wanted)
            found = embed(source.only(kept))
            labels: Sequence[object] = [label_of[own] for own in found.ids]
        else:
            found = embed(source)
            labels = _labels_of(paired, found.ids, found.labels) or ()
            if not labels or any(label is None for label in labels):
                raise InputError("images have no labels: sort them into folders named by their class, or pass labels")
        known = _named(labels, source, names)
        rows = [
            i
            for i, (own, name) in enumerate(zip(found.ids, known, strict=True))
            if name in wanted and own not in found.unreadable
        ]
        _check_some(rows, labels, wanted)
        rows_of = found.vectors if isinstance(found.vectors, Rows) else TensorRows(found.vectors)
        vectors = rows_of.take(np.array(rows, np.int64)).float()
        classes = np.array([known[row] for row in rows], dtype=np.str_)
        values = _lowest(past, failures, vectors, np.array([names.index(name) for name in classes]))
        return cls([found.ids[row] for row in rows], classes, values, vectors)


def _check_some(rows: Sequence[object], labels: Sequence[object], wanted: set[str]) -> None:
    if not rows:
        raise InputError(
            f"no image is of {', '.join(map(shown, sorted(wanted)[:3]))}, labels are such as {shown(labels[0])}: name "
            "classes as the audit does"
        )


def _labels_of(paired: Paired, ids: Sequence[str], came: Sequence[object] | None) -> Sequence[object] | None:
    """Return the label of each image: given, or as the source knows it; None where only the images bring them."""
    given = paired.joined(ids)["labels"]
    return came if given is None else listed(given)


def _named(labels: Sequence[object], source: ImageSource, names: Sequence[str]) -> list[str]:
    """Return the audit's name of each label; a number counts into the source's names, or else the audit's classes."""
    listed = source.class_names or names

    def name(label: object) -> str:
        own = label.tolist() if hasattr(label, "tolist") else label
        return listed[own] if isinstance(own, int) and 0 <= own < len(listed) and str(own) not in names else str(own)

    return [name(label) for label in labels]


def _lowest(
    past: PastAudit, failures: dict[str, list[Failure]], vectors: torch.Tensor | Rows, classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the lowest decision value of each vector along the significant directions of its class, NaN without."""
    names = [one["name"] for one in past.document["classes"]]
    values, fit = np.full(len(classes), np.nan), past.directions
    for mode in sorted({one.mode for own in failures.values() for one in own}):
        has = [any(one.mode == mode for one in failures.get(name, ())) for name in names]
        along = to_host(fit.decision_function(vectors, classes, direction=mode), "decision values")
        values = np.fmin(values, np.where(np.array(has)[classes], along, np.nan))
    return values


def _stored_training_images(
    past: PastAudit, failures: dict[str, list[Failure]]
) -> tuple[list[str], NDArray[np.str_], NDArray[np.float64]]:
    store = past.store
    usable = np.empty(0, np.int64)
    if store is not None:
        splits = np.array(store.splits.to_pylist(), dtype=object)
        usable = np.flatnonzero((splits == Split.TRAIN) & store.skipped.is_null().to_numpy()).astype(np.int64)
    if store is None or not len(usable):
        raise InputError(
            f"{past.name} keeps no embeddings of images that their source says are for training: pass the training "
            "images (--train)"
        )
    names = [one["name"] for one in past.document["classes"]]
    known = np.array([names.index(one) if one in names else -1 for one in map(str, store.labels_of(usable))])
    if (known < 0).any():
        raise InputError(f"{past.name} keeps training images whose labels are none of its classes: pass --train")
    values = _lowest(past, failures, store.rows().chosen(usable), known)
    return store.ids.take(usable).to_pylist(), np.array(names, dtype=np.str_)[known], values


def _held_out_among(past: PastAudit, failures: dict[str, list[Failure]], seen: Seen) -> tuple[NDArray[np.int64], str]:
    """Return which images the audit fits or tests on, and how they were known."""
    store = past.store
    if store is not None:
        all_held_out = not past.document["n_images"][Split.TRAIN]
        tested = set(past.examples["path"].to_pylist())
        splits = zip(store.ids.to_pylist(), store.splits.to_pylist(), strict=True)
        rows = np.array(
            [i for i, (own, split) in enumerate(splits) if all_held_out or own in tested or split in HELD_OUT], np.int64
        )
        nearest = torch.full((len(seen.ids),), -1.0, device=seen.vectors.device)
        for block in store.rows(seen.vectors.device).chosen(rows).blocks(BLOCK):
            for start in range(0, len(nearest), 4096):
                part = seen.vectors[start : start + 4096] @ block.float().T
                nearest[start : start + 4096] = torch.maximum(nearest[start : start + 4096], part.amax(dim=1))
        near = to_host(nearest, "how near the pool is to images that were held out") >= SAME_IMAGE
        return np.flatnonzero(near), f"found by the embeddings of {len(rows):,} images"
    same = np.zeros(len(seen.ids), bool)
    names = np.array(past.examples["class"].to_pylist(), dtype=np.str_)
    files = np.array([PurePosixPath(path).name for path in past.examples["path"].to_pylist()], dtype=np.str_)
    for name, own in failures.items():
        rows = np.flatnonzero(names == name)
        columns = [past.examples[failure.column].to_numpy()[rows] for failure in own]
        lowest = np.fmin.reduce(columns)
        by_file = dict(zip(files[rows].tolist(), lowest.tolist(), strict=True))
        own_rows = np.flatnonzero(seen.names == name)
        there = np.array([by_file.get(PurePosixPath(seen.ids[i]).name, np.nan) for i in own_rows])
        same[own_rows] = _more_than_chance(there, seen.values[own_rows], lowest)
    return np.flatnonzero(same), "found by file name and decision value alone, as the audit kept no embeddings"


def _more_than_chance(
    there: NDArray[np.float64], values: NDArray[np.float64], all_there: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which images have the value of the file of their name; none where as many would have by chance.

    Args:
        there: (n,) value of the audit's image with the same file name, NaN where there is none.
        values: (n,) of the pool's images.
        all_there: (m,) of all the audit's images of the class.
    """
    near = SAME_VALUE * np.nanstd(all_there)
    same = np.abs(there - values) <= near
    known, asked, wide = np.sort(all_there[np.isfinite(all_there)]), values[np.isfinite(there)], near * WIDE
    around = np.searchsorted(known, asked + wide, "right") - np.searchsorted(known, asked - wide)
    by_chance = around.sum() / WIDE / max(1, len(known))
    return same & bool(pdtrc(same.sum() - 1, by_chance) <= CHANCE)


# --- the manifest -----------------------------------------------------------------------------------------------------


class _PathsFrom:
    """Says where an image is, from the folder of a manifest on; one that is no file by its id."""

    def __init__(self, folder: Path, source: ImageSource) -> None:
        self._folder = folder.absolute()
        ids = source.ids if isinstance(source, FileSource) else ()
        self._files = dict(zip(ids, getattr(source, "paths", ()), strict=True)) if ids else {}

    def __call__(self, own: str) -> str:
        file = self._files.get(own)
        return own if file is None else Path(os.path.relpath(file.absolute(), self._folder)).as_posix()


def write_manifest(
    past: PastAudit,
    failures: dict[str, list[Failure]],
    file: Path,
    rows: Sequence[tuple[str, str, float, float, str]],
    about: Mapping[str, object],
) -> Manifest:
    """Write the CSV and what is to be known about it."""
    folder = writable_folder(file.parent)
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADER)
    for path, name, value, weight, why in rows:
        table.writerow([path, name, "" if np.isnan(value) else f"{value:.6g}", f"{weight:g}", why])
    write_atomically(folder / file.name, text.getvalue())
    named = [str(row[1]) for row in rows]
    counts = {name: named.count(name) for name in dict.fromkeys(named)}
    document = {
        "schema": SCHEMA,
        "fdgpu": __version__,
        "way": file.stem,
        "audit": past.folder.name if past.folder else past.name,
        "input_fingerprint": past.document["input_fingerprint"],
        "failures": [
            {"class": name, "mode": one.mode, "q_value": one.figures["q_value"], "caption": one.caption or None}
            for name, own in failures.items()
            for one in own
        ],
        "counts": counts,
        **about,
    }
    write_json(folder / f"{file.stem}.json", document)
    return Manifest(folder / file.name, len(rows), counts)
