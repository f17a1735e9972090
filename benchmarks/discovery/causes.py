"""Is it the model, or the data? Wrong labels, duplicates and leaks, planted in the worlds of slices.

    python -m benchmarks.discovery.causes --seeds A-B [--settings A,B] [--rates A,B] [--cache DIR] [--write]

A share of the labels of val and test is replaced by another class, whatever the image; and test has copies of val
images, moved by as little as a JPEG of the same picture is, a third of them with another label. The model's answers
are those of the problem. With no wrong label, whatever is called one is false: above all a slice on which the model
fails. Beside an audit's own sorting stand cleanlab, with the model's probabilities and with those of a cross-validated
logistic regression of the vectors, and the nearest neighbours alone. Only errors count for all of them: an audit sorts
these.

A direction is judged by the slice among test images whose label is right and that have no copy, ranked along the
direction that was fitted on all of val, and on val without what was sorted out.

*doorstep* is the hardest case: ten classes, and a slice of one whose vectors lie beside a kind of another.
The settings of networks are read from the cache of ``python -m benchmarks.discovery``. The thresholds were chosen on
seeds 0 and 1.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.discovery import planting
from benchmarks.discovery.__main__ import CACHE, seeds_of
from benchmarks.discovery.metric import area, precision_at
from benchmarks.discovery.problem import Floats, Problem, Samples
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu import FailureDirections
from fdgpu.arrays import to_host
from fdgpu.auditing.causes import sort_errors
from fdgpu.auditing.columns.inputs import AuditInputs, check_inputs
from fdgpu.auditing.images import Embedded
from fdgpu.errors import FdgpuWarning
from fdgpu.index.exact import mean_row, nearest
from fdgpu.rows import TensorRows

Bools = NDArray[np.bool_]
RATES = (0.0, 0.05)  # of wrong labels
COPIES = 0.03  # of test: copies of val images, a third of them with another label
JITTER = 0.06  # of a copy, times the deviation around the mean: 1 - cosine .0036; a JPEG of quality 90 has .0044
TRAINED = ("celeba", "cifar100", "coloured_mnist", "imagenet_c", "chestxray14")
SETTINGS = (*TRAINED, "correlation", "rare", "doorstep")
VOTES, FOLDS = 20, 5
CLASSES, KINDS, EACH, DIMENSIONS = 10, 4, 600, 256  # of doorstep
SLICE, FAILS, ERRS, BESIDE = 100, 0.6, 0.06, 2.5  # its slice: images, error rate inside and outside, distance


@dataclass(frozen=True)
class World:
    """A problem with planted faults; the rows of val come first, then those of test.

    Attributes:
        x: (n, d) vectors.
        labels: (n,) as given.
        probabilities: (n, k) of the model.
        is_test: (n,) bool.
        inside: (n,) bool, of a planted slice.
        wrong_label: (n,) bool.
        copied: (n,) bool, copies and what they are copies of.
        reference: (m, d) vectors that whiten.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    probabilities: Floats
    is_test: Bools
    inside: Bools
    wrong_label: Bools
    copied: Bools
    reference: NDArray[np.float32]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """(n,) the model's."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def errors(self) -> Bools:
        """(n,) the label is not what the model said, and no copy of another split is there."""
        return np.asarray((self.predictions != self.labels) & ~self.copied)

    @property
    def inputs(self) -> AuditInputs:
        """The columns of an audit."""
        names = [str(k) for k in range(self.probabilities.shape[1])]
        return check_inputs(self.labels, self.probabilities, names, np.where(self.is_test, "test", "val"))

    @property
    def embedded(self) -> Embedded:
        """The vectors of an audit."""
        n = len(self.labels)
        rows = TensorRows(torch.from_numpy(self.x), finite=True)
        return Embedded([str(i) for i in range(n)], rows, np.ones(n, bool), (), {}, "", [None] * n, [None] * n)


def doorstep(seed: int) -> Problem:
    """Draw ten classes of four kinds each, and a slice of class 0 at the doorstep of a kind of class 1."""
    rng = np.random.default_rng([7, seed])
    deviation = np.arange(1, DIMENSIONS + 1) ** -0.5

    def shifts(count: int, length: float) -> Floats:
        drawn = rng.normal(size=(count, DIMENSIONS)) * deviation
        return np.asarray(length * drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    labels = np.tile(np.arange(CLASSES), EACH)
    centres = shifts(CLASSES, 5 / np.sqrt(2))[:, None] + shifts(CLASSES * KINDS, 4 / np.sqrt(2)).reshape(
        CLASSES, KINDS, -1
    )
    latent = rng.normal(size=(len(labels), DIMENSIONS)) + centres[labels, rng.integers(KINDS, size=len(labels))]
    inside = (labels == 0) & (np.cumsum(labels == 0) <= SLICE)
    latent[inside] = rng.normal(size=(SLICE, DIMENSIONS)) + centres[1, 0] + shifts(1, BESIDE)
    far = np.stack([np.square(latent[:, None] - kinds).sum(axis=2).min(axis=1) for kinds in centres], axis=1)
    rows = np.arange(len(labels))
    far[rows, labels] = np.inf
    taken_for = np.where(inside, 1, far.argmin(axis=1))
    wrong = rng.random(len(labels)) < np.where(inside, FAILS, ERRS)
    sure = rng.beta(6, 2, len(labels)).clip(0.51)
    probabilities = np.zeros((len(labels), CLASSES))
    probabilities[rows, np.where(wrong, taken_for, labels)] = sure
    probabilities[rows, np.where(wrong, labels, taken_for)] = 1 - sure
    rotation, _ = np.linalg.qr(rng.normal(size=(DIMENSIONS, DIMENSIONS)))
    x = latent @ (deviation[:, None] * rotation) + np.linalg.norm(deviation) / np.sqrt(DIMENSIONS)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    order = rng.permutation(len(labels))
    halves = [Samples(x[half], labels[half], probabilities[half], ~wrong[half]) for half in np.array_split(order, 2)]
    truth = [inside[half][:, None] for half in np.array_split(order, 2)]
    return Problem("doorstep", "", seed, halves[0], halves[1], truth[1], truth[0], halves[0].x)


def problems(setting: str, seed: int, folder: Path) -> Iterator[Problem]:
    """Yield the first problem of a setting and seed; nothing where its networks were not trained."""
    if setting == "doorstep":
        yield doorstep(seed)
    elif setting in TRAINED:
        path = folder / setting / f"{seed}_0.safetensors"
        if path.exists():
            yield Problem.load(path)
    else:
        made = planting.plant(planting.Setting(setting, planting.FAMILIES[setting][-1], 4.0, seed, 6000))
        val, test = (
            Samples(half.x, half.labels, np.stack([1 - half.scores, half.scores], axis=1), half.correct)
            for half in (made.validation, made.held_out)
        )
        yield Problem(setting, "", seed, val, test, made.truth, made.validation_truth, val.x)


def plant(problem: Problem, rate: float) -> World:
    """Plant wrong labels, and copies of val images in test."""
    rng = np.random.default_rng([11, problem.seed, round(1000 * rate)])
    val, test = problem.val, problem.test
    x, labels, probabilities = (
        np.concatenate([getattr(one, name) for one in (val, test)]) for name in ("x", "labels", "probabilities")
    )
    inside = np.concatenate([problem.val_truth.any(axis=1), problem.truth.any(axis=1)])
    k = probabilities.shape[1]
    wrong = rng.random(len(labels)) < rate
    labels = np.where(wrong, (labels + rng.integers(1, k, len(labels))) % k, labels)
    n = round(COPIES * len(test.labels))
    copies = rng.choice(len(val.labels), n, replace=False)
    centred = x - x.mean(axis=0)
    noise = rng.normal(size=(n, x.shape[1])) * centred.std(axis=0)
    length = np.linalg.norm(centred[copies], axis=1) / np.linalg.norm(noise, axis=1)
    moved = x[copies] + JITTER * noise * length[:, None]
    other = np.where(np.arange(n) < n // 3, (labels[copies] + 1) % k, labels[copies])
    copied = np.zeros(len(labels) + n, bool)
    copied[copies], copied[len(labels) :] = True, True
    return World(
        np.concatenate([x, moved.astype(np.float32)]),
        np.concatenate([labels, other]),
        np.concatenate([probabilities, probabilities[copies]]),
        np.arange(len(labels) + n) >= len(val.labels),
        np.concatenate([inside, inside[copies]]),
        np.concatenate([wrong, np.zeros(n, bool)]),
        copied,
        problem.reference,
    )


def by_cleanlab(world: World, probabilities: Floats) -> Bools:
    """Return cleanlab's label issues, by its default rule."""
    from cleanlab.filter import find_label_issues

    return np.asarray(find_label_issues(world.labels, probabilities, n_jobs=1))


def cross_validated(world: World) -> Floats:
    """Return (n, k) probabilities by a logistic regression of the vectors, as cleanlab's guides do."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    return np.asarray(cross_val_predict(model, world.x, world.labels, cv=FOLDS, method="predict_proba"))


def neighbours(world: World) -> tuple[Bools, Bools]:
    """Return whose neighbours are mostly of another class, and who has one in the other split at a tenth of the usual.

    The usual is the median distance to the nearest.
    """
    rows, every = TensorRows(torch.from_numpy(world.x)), np.arange(len(world.x))
    cosines, at = (to_host(one, "") for one in nearest(rows, every, every, VOTES + 1, mean_row(rows, every)))
    far = 1 - cosines[:, 1:]
    agree = (world.labels[at[:, 1:]] == world.labels[:, None]).mean(axis=1)
    close = far < 0.1 * np.median(far[:, 0])
    return agree < 0.5, (close & (world.is_test[at[:, 1:]] != world.is_test[:, None])).any(axis=1)


def near_duplicates_by_cleanlab(world: World) -> Bools:
    """Return cleanlab's near duplicates that have one in the other split, at its default threshold."""
    from cleanlab import Datalab

    lab = Datalab({"label": world.labels}, label_name="label", verbosity=0)
    lab.find_issues(features=world.x.astype(np.float64), issue_types={"near_duplicate": {}})
    found = lab.get_issues("near_duplicate")
    pairs = zip(found["is_near_duplicate_issue"], found["near_duplicate_sets"], strict=True)
    return np.array(
        [
            bool(own) and any(world.is_test[i] != world.is_test[j] for j in others)
            for i, (own, others) in enumerate(pairs)
        ]
    )


def measured(called: Bools, true: Bools, among: Bools) -> dict[str, float]:
    """Return how many are called, and precision and recall; NaN where there is nothing to divide by."""
    hits = int((called & true & among).sum())
    n, m = int((called & among).sum()), int((true & among).sum())
    return {"called": n, "precision": hits / n if n else np.nan, "recall": hits / m if m else np.nan}


def direction(world: World, kept: Bools) -> dict[str, float]:
    """Rank the clean test images of each class along its direction; how well that finds the slice."""
    fit = FailureDirections(method="latent")
    val = ~world.is_test & kept
    right = world.predictions == world.labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FdgpuWarning)
        fit.fit(world.x[val], world.labels[val], right[val], reference=world.reference)
    test = world.is_test & ~world.wrong_label & ~world.copied
    values = -np.asarray(fit.decision_function(world.x[test], world.labels[test]), np.float64)
    inside, own = world.inside[test], world.labels[test]
    found = [np.where((own == k) & ~np.isnan(values), values, -np.inf) for k in np.unique(own[inside])]
    if not found:
        return {}
    proposals = np.stack(found, axis=1)
    truth = np.stack([inside & (own == k) for k in np.unique(own[inside])], axis=1)
    return {
        "precision@25": float(precision_at(25, proposals, truth).mean()),
        "area": float(area(proposals, truth).mean()),
    }


def measure(setting: str, problem: Problem, rate: float) -> list[dict[str, object]]:
    """Return a row a method, and what it found."""
    world = plant(problem, rate)
    rows: list[dict[str, object]] = []

    def add(kind: str, method: str, seconds: float, **values: float) -> None:
        about = {"setting": setting, "seed": problem.seed, "rate": rate, "kind": kind, "method": method}
        blank = dict.fromkeys(("called", "precision", "recall", "slice called", "precision@25", "area"), np.nan)
        rows.append({**about, **blank, **values, "seconds": round(seconds, 3)})

    def label_errors(method: str, called: Bools, seconds: float) -> None:
        of_slice = {"slice called": float((called & world.inside & ~world.wrong_label & world.errors).sum())}
        add("label", method, seconds, **measured(called, world.wrong_label, world.errors), **of_slice)

    start = time.perf_counter()
    found = sort_errors(world.inputs, world.embedded)
    seconds = time.perf_counter() - start
    label_errors("fdgpu", found.labels.wrong, seconds)
    everybody = np.ones(len(world.labels), bool)
    add("duplicate", "fdgpu", seconds, **measured(found.twins >= 0, world.copied, everybody))
    start = time.perf_counter()
    label_errors("cleanlab, model", by_cleanlab(world, world.probabilities), time.perf_counter() - start)
    start = time.perf_counter()
    label_errors("cleanlab, vectors", by_cleanlab(world, cross_validated(world)), time.perf_counter() - start)
    start = time.perf_counter()
    others, close = neighbours(world)
    label_errors("neighbours", others, time.perf_counter() - start)
    add("duplicate", "neighbours", time.perf_counter() - start, **measured(close, world.copied, everybody))
    start = time.perf_counter()
    doubled = near_duplicates_by_cleanlab(world)
    add("duplicate", "cleanlab", time.perf_counter() - start, **measured(doubled, world.copied, everybody))
    if rate and world.inside.any():
        faults = world.wrong_label | world.copied
        for method, kept in (
            ("all", everybody),
            ("clean", found.kept(world.inputs)),
            ("told the faults", ~faults),
        ):
            start = time.perf_counter()
            values = direction(world, kept)
            add("direction", method, time.perf_counter() - start, **values)
    return rows


def table(rows: list[dict[str, object]], kind: str, columns: tuple[str, ...]) -> Table:
    """Lay out means over seeds, and their deviation."""
    made = Table("setting", "rate", "method", "seeds", *columns, title=kind)
    keys = dict.fromkeys((row["setting"], row["rate"], row["method"]) for row in rows if row["kind"] == kind)
    for key in keys:
        own = [row for row in rows if row["kind"] == kind and (row["setting"], row["rate"], row["method"]) == key]
        cells = []
        for column in columns:
            values = np.array([row[column] for row in own], float)
            values = values[~np.isnan(values)]
            cells.append(f"{values.mean():.3f} ± {values.std(ddof=len(values) > 1):.3f}" if len(values) else "–")
        made.add_row(*map(str, key), str(len(own)), *cells)
    return made


def main() -> None:
    """Measure, print, and with ``--write`` store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, required=True, metavar="A-B")
    parser.add_argument("--settings", type=lambda text: text.split(","), default=list(SETTINGS))
    parser.add_argument("--rates", type=lambda text: [float(one) for one in text.split(",")], default=list(RATES))
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    asked = parser.parse_args()
    about, console, rows = machine(), Console(width=160), []
    for seed in asked.seeds:
        for setting in asked.settings:
            for problem in problems(setting, seed, asked.cache):
                for rate in asked.rates:
                    rows += measure(setting, problem, rate)
                console.print(f"{setting}, seed {seed}")
                if asked.write:  # what there is so far
                    known = [{key: None if value != value else value for key, value in row.items()} for row in rows]
                    store(f"causes_{asked.seeds.start}-{asked.seeds.stop - 1}", about, known)
    for kind, columns in (
        ("label", ("called", "precision", "recall", "slice called")),
        ("duplicate", ("called", "precision", "recall")),
        ("direction", ("precision@25", "area")),
    ):
        console.print(table(rows, kind, columns))


if __name__ == "__main__":
    main()
