"""Synthetic problems, each a function of a seed: planted slices, single classes, failures that no line finds, and none.

*correlation*, *rare* and *noisy label* are Domino's families, at both separations; strengths take turns, so that five
seeds have all of them (:mod:`benchmarks.discovery.planting`).

In *moderate*, *hard*, *two clusters* and *both attributes* there is one class. Features are standard normal, moved
along directions of the slice, and mixed by a random matrix. The probability of the true class is Beta(.75, .25) outside
the slice and Beta(.4, .6) inside. A part is named by the slice's share and its separation: how far it is moved, in
deviations of the noise.

In *two clusters* the slice is one of two groups, which are moved in opposite or in unrelated directions, each half of
the share. In *both attributes* there are two independent attributes; samples are moved along each that they have. The
slice are the samples with both: either alone does no harm.

In *null* answers have nothing to do with vectors. They are independent; or the same for six near-duplicates an object,
which ``groups`` tells; or their losses have heavy tails, and no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.discovery import planting
from benchmarks.discovery.problem import LEAST, Floats, Problem, Samples

MODERATE = ((0.02, 6), (0.05, 4), (0.1, 3), (0.3, 2), (0.5, 1.5))  # share, separation
HARD = ((0.01, 4), (0.02, 3), (0.03, 2.5), (0.05, 2.5), (0.3, 2.5))
CURVED = ((0.04, 6), (0.1, 4), (0.3, 3))
FAMILY, ONE_CLASS, CLUSTERS, ATTRIBUTES, NULL = range(5)  # the first key of every generator
NULL_CLASSES, NULL_SAMPLES, NULL_DIMENSIONS, DUPLICATES = 100, 240, 64, 6
TYPICAL = 0.23  # median of the losses with heavy tails: a quarter is above log 2

Slice = tuple[NDArray[np.bool_], Floats]  # who is inside (n,), and how far everybody is moved (n, d)


def planted(family: str, seed: int, samples: int = 30_000) -> Iterator[Problem]:
    """Yield two of a family's ten problems, at both separations: strengths take turns, so that five seeds have all."""
    strengths = planting.FAMILIES[family]
    for separation, strength in product(planting.SEPARATIONS, (strengths[seed % len(strengths)],)):
        made = planting.plant(planting.Setting(family, strength, separation, seed, samples))
        val, test = (
            Samples(half.x, half.labels, np.stack([1 - half.scores, half.scores], axis=1), half.correct)
            for half in (made.validation, made.held_out)
        )
        part = f"{strength:g} at {separation:g}"
        yield Problem(family, part, seed, val, test, made.truth, made.validation_truth, val.x)


def one_class(name: str, seed: int, n: int, d: int, parts: tuple[tuple[float, float], ...]) -> Iterator[Problem]:
    """Yield the problems of a world in which the slice lies in one direction."""
    for i, (share, separation) in enumerate(parts):
        rng = np.random.default_rng([ONE_CLASS, d, i, seed])
        inside = _exactly(share, n, rng)
        yield _problem(name, f"{share:g} at {separation:g}", seed, inside, _moved(inside, separation, d, rng), rng)


def two_clusters(seed: int, n: int = 6000, d: int = 128) -> Iterator[Problem]:
    """Yield slices of two clusters, on opposite sides of the class and in unrelated directions."""
    for i, (opposite, (share, separation)) in enumerate(product((True, False), CURVED)):
        rng = np.random.default_rng([CLUSTERS, i, seed])
        inside = _exactly(share, n, rng)
        second = inside & (np.cumsum(inside) % 2 == 0)
        if opposite:
            moved = _moved(inside.astype(float) - 2 * second, separation, d, rng)
        else:
            moved = _moved(inside & ~second, separation, d, rng) + _moved(second, separation, d, rng)
        part = f"{'opposite' if opposite else 'unrelated'}, {share:g} at {separation:g}"
        yield _problem("two clusters", part, seed, inside, moved, rng)


def both_attributes(seed: int, n: int = 6000, d: int = 128) -> Iterator[Problem]:
    """Yield slices of those that have two attributes at once."""
    for i, (share, separation) in enumerate(CURVED):
        rng = np.random.default_rng([ATTRIBUTES, i, seed])
        first, second = (rng.random(n) < np.sqrt(share) for _ in range(2))
        moved = _moved(first, separation, d, rng) + _moved(second, separation, d, rng)
        yield _problem("both attributes", f"{share:g} at {separation:g}", seed, first & second, moved, rng)


def null(
    seed: int, classes: int = NULL_CLASSES, samples: int = NULL_SAMPLES, d: int = NULL_DIMENSIONS
) -> Iterator[Problem]:
    """Yield the three worlds without a failure, of ``samples`` a class and half."""
    for i, part in enumerate(("independent", "near-duplicates", "heavy tails")):
        rng = np.random.default_rng([NULL, i, seed])
        copies = DUPLICATES if part == "near-duplicates" else 1
        group = np.repeat(np.arange(2 * classes * samples // copies), copies)
        looks = rng.normal(size=(group[-1] + 1, d))
        x = looks[group] + (0.2 * rng.normal(size=(len(group), d)) if copies > 1 else 0)
        p = np.exp(-TYPICAL * rng.pareto(1, len(looks))) if part == "heavy tails" else rng.beta(0.75, 0.25, len(looks))
        p = p[group].clip(LEAST, 1 - LEAST)
        labels = np.arange(len(group)) // samples % classes
        both = [_answered(x[rows], labels[rows], p[rows], classes) for rows in np.split(np.arange(len(x)), 2)]
        none = np.zeros((len(x) // 2, 0), bool)
        groups = group[: len(x) // 2] if copies > 1 else None
        yield Problem("null", part, seed, both[0], both[1], none, none, both[0].x, groups=groups)


WORLDS: dict[str, Callable[[int], Iterator[Problem]]] = {
    **{family: partial(planted, family) for family in planting.FAMILIES},
    "moderate": partial(one_class, "moderate", n=8000, d=128, parts=MODERATE),
    "hard": partial(one_class, "hard", n=6000, d=256, parts=HARD),
    "two clusters": two_clusters,
    "both attributes": both_attributes,
    "null": null,
}


def _exactly(share: float, n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    return rng.permutation(n) < round(share * n)


def _moved(amount: NDArray[np.generic], separation: float, d: int, rng: np.random.Generator) -> Floats:
    """Return (n, d), by how much each is moved along a random direction."""
    direction = rng.normal(size=d)
    return np.outer(amount, separation * direction / np.linalg.norm(direction))


def _problem(
    name: str, part: str, seed: int, inside: NDArray[np.bool_], moved: Floats, rng: np.random.Generator
) -> Problem:
    """Mix features, draw answers, and fit one half."""
    n, d = moved.shape
    x = (rng.normal(size=(n, d)) + moved) @ rng.normal(size=(d, d)) / np.sqrt(d)
    q = np.where(inside, planting.INSIDE, planting.OUTSIDE)
    p = rng.beta(q, 1 - q).clip(LEAST, 1 - LEAST)
    half, labels = n // 2, np.zeros(n, np.int64)
    val, test = (_answered(x[rows], labels[rows], p[rows], 2) for rows in (slice(half), slice(half, None)))
    return Problem(name, part, seed, val, test, inside[half:, None], inside[:half, None], val.x)


def _answered(x: Floats, labels: NDArray[np.int64], p: Floats, classes: int) -> Samples:
    """Make samples of the true class's probability p; the next class has the rest."""
    rows, probabilities = np.arange(len(x)), np.zeros((len(x), classes))
    probabilities[rows, labels] = p
    probabilities[rows, (labels + 1) % classes] = 1 - p
    return Samples(x.astype(np.float32), labels, probabilities, p >= 0.5)
