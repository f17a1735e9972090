"""Is the minority what the model fails on? The paper's forms class by class, by how much more often it is wrong there.

    python -m benchmarks.discovery.misses --seeds A-B [--cache DIR] [--write]

A form plants a minority in training, and judges by the minority among the K hardest. Whether the model then fails on
it is up to the training. Classes are told apart by the error rate on the minority less that on the others, on val:
the mean share of the minority among the K hardest of test, with the deviation between classes, and the area under the
curve of the errors themselves, by vectors alone. Problems are those that ``benchmarks.discovery`` has trained.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.metrics import roc_auc_score

from benchmarks.discovery.__main__ import CACHE, seeds_of
from benchmarks.discovery.methods import ALONE, LATENT, SVM, confidence, latent, svm
from benchmarks.discovery.problem import Problem
from benchmarks.machine import machine
from benchmarks.stored import store

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


def main() -> None:
    """Measure what is in the cache, print, and with ``--write`` store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, required=True, metavar="A-B")
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--write", action="store_true")
    asked, console, about, values = parser.parse_args(), Console(width=160), machine(), Values()
    units = [(form, seed) for form in FORMS for seed in asked.seeds if (asked.cache / form / f"{seed}.done").exists()]
    for form, seed in track(units, "classes", console=console, disable=not console.is_terminal):
        for kind, row in classes_of(Problem.load(asked.cache / form / f"{seed}_0.safetensors"), FORMS[form]):
            values.setdefault((form, kind), []).append(row)
    rows = [
        summary(form, kind, values[form, kind], units) for form in FORMS for kind in KINDS if (form, kind) in values
    ]
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    if not rows:
        raise SystemExit(f"{asked.cache} holds none of these seeds: train them with --prepare of benchmarks.discovery")
    table = Table(*rows[0])
    for line in rows:
        table.add_row(*map(str, line.values()))
    console.print(table)
    if asked.write:
        store(f"misses_{asked.seeds.start}-{asked.seeds.stop - 1}", about, rows)


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
