"""Is the minority what the model fails on? The paper's forms class by class, by how much more often it is wrong there.

    python -m benchmarks.discovery.misses --seeds A-B [--cache DIR] [--write]
    python -m benchmarks.discovery.misses --seeds A-B --slices rare [--cv 2] [--write]

A form plants a minority in training, and judges by the minority among the K hardest. Whether the model then fails on
it is up to the training. Classes are told apart by the error rate on the minority less that on the others, on val:
the mean share of the minority among the K hardest of test, with the deviation between classes, and the area under the
curve of the errors themselves, by vectors alone. Problems are those that ``benchmarks.discovery`` has trained.

Of a planted slice the second form asks what is missing: samples, a start, or a fixed point. In the class that holds it
a hidden class is fitted as the latent method does (*found*); along the regression of the truth (*told*); and as the
method does, but from the truth (*begun*). Of each: the area under the curve of the slice, by vectors alone, each
sample by the others; the nats by which vectors foretell margins; the same where answers were exchanged, of the
candidate with the most; and of the first two the nats held out. *start* is the one of all starts that holds most of the
slice for its size, as members of its size. *found* is the candidate with the most evidence, *told* and *begun* have the
most nats.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.discovery.__main__ import CACHE, seeds_of
from benchmarks.discovery.methods import ALONE, LATENT, SVM, confidence, latent, svm
from benchmarks.discovery.problem import Problem
from benchmarks.discovery.worlds import WORLDS
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.directions.latent import LatentBatch, TorchBackend, evidence_of
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SolverSettings
from fdgpu.directions.samples import ClassSamples, check_embeddings, check_loss
from fdgpu.directions.whitening import Whitening
from fdgpu.kernels.hidden_classes import (
    FULL,
    INSIDE,
    OUTSIDE,
    WIDER,
    Mixtures,
    Smoother,
    Space,
    dual_of,
    fit,
    left_out,
    nats,
    regressions,
    search,
    smoother_of,
    space_of,
    starts,
)

FORMS = {"celeba": 500, "cifar100": 60, "imagenet_c": 10}  # and K of their aims
GAPS = (0.05, 0.2)  # bounds between classes whose minority is no failure, a weak one, and a clear one
KINDS = ("at most .05", "up to .2", "above .2")
LINES = (LATENT, LATENT + ALONE, SVM, "confidence")

Values = dict[tuple[str, str], list[dict[str, float]]]


def classes_of(problem: Problem, top: int) -> list[tuple[str, dict[str, float]]]:
    """Return for each class its kind, and what was measured."""
    val, test = problem.val, problem.test
    found = {**latent(problem), **svm(problem), **confidence(problem)}
    rows = []
    for label in np.unique(test.labels):
        own, fitted = test.labels == label, val.labels == label
        inside, planted = problem.truth[own].any(axis=1), problem.val_truth[fitted].any(axis=1)
        wrong, missed = ~val.correct[fitted], ~test.correct[own]
        gap = float(wrong[planted].mean() - wrong[~planted].mean())
        values = {"gap": gap, "errors": float(wrong.mean())}
        for line in LINES:
            hardness = found[line].ranked[own]
            values[line] = float(inside[np.argsort(-hardness, kind="stable")[:top]].mean())
        values["area of errors"] = float(roc_auc_score(missed, found[LATENT + ALONE].ranked[own]))
        rows.append((KINDS[int(np.searchsorted(GAPS, gap))], values))
    return rows


def slice_of(problem: Problem, cv: int = SolverSettings.cv) -> dict[str, object]:
    """Return the line of a problem with one slice, which lies in one class."""
    val, inside = problem.val, np.asarray(problem.val_truth.any(axis=1))
    label = int(val.labels[inside][0])
    own = np.flatnonzero(val.labels == label)
    vectors, margins = check_embeddings(val.x, "vectors"), check_loss(val.loss, val.labels)
    one = ClassSamples(label, own, val.correct[own], vectors, Whitening.fit(problem.reference), margin=margins[own])
    batch = TorchBackend(torch.device("cpu"), NumbaBackend).open([one], SolverSettings(method="latent", cv=cv))
    truth, wrong = torch.from_numpy(inside[own]), ~val.correct[own]
    space = space_of(batch.x[None], torch.ones(1, len(own), dtype=batch.x.dtype))
    smoother, answers = smoother_of(space, batch.shrinkages), torch.cat([batch.margin[None], batch.exchanged()])[None]
    found, gain = search(space, smoother, answers)
    margin, excess = answers[:, :1], evidence_of(gain)[0]
    told, first = along_truth(space, smoother, margin, truth), told_from(space, smoother, truth)
    most = (WIDER * truth.double().mean()).to(first.dtype).expand(first.shape[:-1])
    begun = only_start(fit(space, smoother, margin, first, most, FULL.iterations))
    each = [
        found.taken(torch.zeros(1, dtype=torch.int64), 1).taken(excess.argmax(-1), 1).mapped(lambda one: one[:, None]),
        *(one.taken(nats(space, margin, one).argmax(-1), 2) for one in (told, begun)),
    ]
    members = starts(space, regressions(space, smoother, margin)[1], FULL)[0][0, 0].flatten(0, 1) > 0.5
    start = members[(members[:, truth].sum(1) / members.sum(1)).argmax()]
    held = float(batch.held_out(batch.margin[None])[0].sum(0).max()), held_out(batch, truth)
    areas = [float(roc_auc_score(truth.numpy(), one.predicted[0, 0].numpy())) for one in each]
    return {
        "setting": problem.setting,
        "part": problem.part,
        "seed": problem.seed,
        "slice of class": f"{int(truth.sum())} of {len(own)}",
        "wrong in it, outside": f"{int(wrong[inside[own]].sum())}, {int(wrong[~inside[own]].sum())}",
        "start": f"{int(start[truth].sum())} of {int(start.sum())}",
        "area, found / told / begun": " / ".join(f"{value:.2f}" for value in areas),
        "nats": " / ".join(f"{float(nats(space, margin, one)):.1f}" for one in each),
        "nats where answers were exchanged": " / ".join(f"{float(one):.1f}" for one in gain[0, 1:].amax(-1)),
        "nats held out, found / told": " / ".join(f"{value:.1f}" for value in held),
    }


def told_from(space: Space, smoother: Smoother, truth: torch.Tensor) -> torch.Tensor:
    """Return the responsibilities (1, 1, L, 1, m) of a start that takes the slice, of samples (m,), for failures."""
    first = torch.where(truth, INSIDE, OUTSIDE).to(space.x.dtype) * space.there
    return first[:, None, None, None].expand(-1, -1, smoother.ridge.shape[1], -1, -1)


def along_truth(space: Space, smoother: Smoother, margin: torch.Tensor, truth: torch.Tensor) -> Mixtures:
    """Fit a hidden class (1, 1, L) along the regression of the truth (m,)."""
    first = told_from(space, smoother, truth)
    predicted = left_out(space, smoother, first)
    along = predicted, dual_of(space, smoother, first, predicted)
    return only_start(fit(space, smoother, margin, first, torch.ones_like(first[..., 0]), FULL.iterations, along))


def only_start(found: Mixtures) -> Mixtures:
    """Drop the dimension of starts, of which there is one."""
    return found.taken(torch.zeros(found.share.shape[:-1], dtype=torch.int64), 3)


def held_out(batch: LatentBatch, truth: torch.Tensor) -> float:
    """Return the nats of each fold along the truth of the others, by the shrinkage with the most."""
    gain, margin = torch.zeros(len(batch.shrinkages)), batch.margin[None]
    for fitted, space, smoother, held, products in batch.folds_apart:
        found = along_truth(space, smoother, fitted.of(margin), truth[fitted.rows[0]])
        along = found.dual[0, 0] @ products[0].mT  # (L, held)
        gain += (found.gain(along, held.of(margin)[:, :, None]) * held.there).sum(-1)[0, 0]
    return float(gain.max())


def main() -> None:
    """Measure what is in the cache, print, and with ``--write`` store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, required=True, metavar="A-B")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument(
        "--slices", choices=("rare", "moderate", "hard", "noisy label"), help="a world of single slices"
    )
    parser.add_argument("--cv", type=int, default=SolverSettings.cv, help="folds that nats of slices are held out in")
    parser.add_argument("--write", action="store_true")
    asked, console, about = parser.parse_args(), Console(width=220), machine()
    seeds = asked.seeds
    rows = of_slices(asked.slices, seeds, asked.cv, console) if asked.slices else of_forms(asked.cache, seeds, console)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    if not rows:
        raise SystemExit(f"{asked.cache} holds none of these seeds: train them with --prepare of benchmarks.discovery")
    table = Table(*rows[0])
    for line in rows:
        table.add_row(*map(str, line.values()))
    console.print(table)
    if asked.write:
        of = f"{asked.slices.replace(' ', '_')}_" if asked.slices else ""
        store(f"misses_{of}{seeds.start}-{seeds.stop - 1}", about, rows)


def of_slices(setting: str, seeds: range, cv: int, console: Console) -> list[dict[str, object]]:
    """Return a line for each problem of a world."""
    problems = (problem for seed in seeds for problem in WORLDS[setting](seed))
    return [slice_of(one, cv) for one in track(problems, "slices", console=console, disable=not console.is_terminal)]


def of_forms(cache: Path, seeds: range, console: Console) -> list[dict[str, object]]:
    """Return a line for each form and kind of class that the cache holds."""
    values = Values()
    units = [(form, seed) for form in FORMS for seed in seeds if (cache / form / f"{seed}.done").exists()]
    for form, seed in track(units, "classes", console=console, disable=not console.is_terminal):
        for kind, row in classes_of(Problem.load(cache / form / f"{seed}_0.safetensors"), FORMS[form]):
            values.setdefault((form, kind), []).append(row)
    return [
        summary(form, kind, values[form, kind], units) for form in FORMS for kind in KINDS if (form, kind) in values
    ]


def summary(form: str, kind: str, values: list[dict[str, float]], units: list[tuple[str, int]]) -> dict[str, object]:
    """Return a line: means over classes, ± the deviation between them."""
    columns: dict[str, list[float]] = defaultdict(list)
    for row in values:
        for name, value in row.items():
            columns[name].append(value)
    said = {name: f"{np.mean(each):.3f} ± {np.std(each):.3f}" for name, each in columns.items()}
    seeds = sum(one == form for one, _ in units)
    return {
        "setting": form,
        "K": FORMS[form],
        "errors inside - outside": kind,
        "classes": len(values),
        "seeds": seeds,
        **said,
    }


if __name__ == "__main__":
    main()
