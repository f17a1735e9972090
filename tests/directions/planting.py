"""Classes with a known number of failure modes, and classes as a backend is given them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from fdgpu.directions.batch import SolverBackend
from fdgpu.directions.dealing import over_batches
from fdgpu.directions.distilling import distil
from fdgpu.directions.parameters import SearchSettings, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.directions.whitening import Whitening
from fdgpu.rows import TensorRows
from tests.conftest import make_class


@dataclass(frozen=True)
class PlantedModes:
    x: np.ndarray  # (n, d) float32
    right: np.ndarray  # (n,) bool
    member: np.ndarray  # (modes, n) bool: shows the attribute of the mode
    directions: np.ndarray  # (modes, d) unit


def plant_modes(
    n: int, d: int, shares: Sequence[float], *, overlap: float = 0.0, strength: float = 1.0, seed: int = 0
) -> PlantedModes:
    """Independent attributes, each in its share of the samples; 85 % errors where one is shown, 5 % elsewhere.

    Without attributes 20 % of the samples are wrong at random. ``overlap`` is the cosine of the first two directions.
    """
    rng = np.random.default_rng(seed)
    modes = len(shares)
    directions = np.linalg.qr(rng.normal(size=(d, d)))[0][:modes]
    if overlap:
        directions[1] = overlap * directions[0] + np.sqrt(1 - overlap**2) * directions[1]
    member = rng.random((modes, n)) < np.reshape(shares, (modes, 1))
    rate = np.where(member.any(axis=0), 0.85, 0.05 if modes else 0.2)
    right = rng.random(n) >= rate
    x = rng.normal(size=(n, d)) / np.sqrt(d) + strength * member.T @ directions
    return PlantedModes(x.astype(np.float32), right, member, directions)


def class_samples(x: np.ndarray, right: np.ndarray, sizes: Sequence[int] | None = None) -> list[ClassSamples]:
    """Consecutive rows as classes of ``sizes`` (one class by default) that are normalised but not whitened."""
    embeddings, whitening = TensorRows(torch.from_numpy(x)), Whitening.identity(x.shape[1])
    rows = np.split(np.arange(len(x)), np.cumsum(sizes or [len(x)])[:-1])
    return [ClassSamples(k, own, right[own], embeddings, whitening) for k, own in enumerate(rows)]


def make_classes(sizes: Sequence[int], d: int, errors: float = 0.3, separation: float = 1.0) -> list[ClassSamples]:
    """Classes with one planted direction each, of seeds that are their sizes."""
    parts = [make_class(n, d, errors, separation, seed=n) for n in sizes]
    return class_samples(np.concatenate([p.x for p in parts]), np.concatenate([p.right for p in parts]), sizes)


@dataclass(frozen=True)
class Direction:
    w: np.ndarray
    intercept: float
    C_index: float
    cv_scores: np.ndarray
    n_errors: float
    n_iter: float
    violation: float


@dataclass(frozen=True)
class Found:
    """What was found in one class, by as many directions as hold."""

    directions: list[Direction]
    resampled: np.ndarray | None
    p_value: float
    n_permutations: int
    nested_score: float
    solver: str


def found_in(
    backend: SolverBackend, classes: Sequence[ClassSamples], settings: SolverSettings, search: SearchSettings
) -> list[Found]:
    """Distil classes in the backend's own batches, and look at each by itself."""
    found: list[Found] = []
    for one in over_batches(backend, classes, settings, lambda batch: distil(batch, search)):
        for i, count in enumerate(one.counts):
            explanation = one.explanations[count - 1]
            own = explanation[: len(fields(Direction))]  # the others are of the latent method
            directions = [Direction(*(values[j, i] for values in own)) for j in range(count)]
            resampled = one.resampled[count - 1][i].cpu().numpy() if one.resampled else None
            p_value = (1 + int(one.exceeded[i])) / (1 + int(one.n_permutations[i]))
            numbers = (p_value, int(one.n_permutations[i]), float(one.nested_scores[i]))
            found.append(Found(directions, resampled, *numbers, one.solver))
    return found
