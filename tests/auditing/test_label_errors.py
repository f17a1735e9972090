"""Wrong labels are told from what a model does wrong; a slice on which it fails is never called wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fdgpu.auditing.label_errors import (
    FDR,
    FEWEST,
    NO_ERRORS,
    NO_RIGHT,
    NOT_APART,
    NOTHING_LEVEL,
    SHRINKAGES,
    SURE,
    LabelErrors,
    Votes,
    called,
    find_label_errors,
    left_out,
    level_part,
    pools,
)
from fdgpu.rows import TensorRows

CLASSES, EACH, D = 4, 300, 24


class World:
    """Four classes, and a model that takes some images for the nearest other class."""

    def __init__(self, seed: int, flipped: float = 0.0, slice_size: int = 0, apart: float = 5.0) -> None:
        rng = np.random.default_rng(seed)
        self.truth = np.repeat(np.arange(CLASSES), EACH)
        centres = rng.normal(size=(CLASSES, D))
        centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
        self.x = (centres[self.truth] + rng.normal(size=(len(self.truth), D))).astype(np.float32)
        self.inside = np.arange(len(self.truth)) < slice_size  # of class 0, beside class 1
        beside = rng.normal(size=D)
        self.x[self.inside] += centres[1] - centres[0] + 2.5 * beside / np.linalg.norm(beside)
        far = ((self.x[:, None] - centres) ** 2).sum(axis=2)
        far[np.arange(len(far)), self.truth] = np.inf
        wrong = rng.random(len(far)) < np.where(self.inside, 0.7, 0.1)
        self.predictions = np.where(wrong, np.where(self.inside, 1, far.argmin(axis=1)), self.truth)
        self.flipped = rng.random(len(far)) < flipped
        other = (self.truth + rng.integers(1, CLASSES, len(far))) % CLASSES
        self.labels = np.where(self.flipped, other, self.truth)
        cosines = np.corrcoef(self.x)
        np.fill_diagonal(cosines, -2)
        near = np.argsort(-cosines, axis=1)[:, :20]
        self.near = near

    def found(self, labels: np.ndarray | None = None, predictions: np.ndarray | None = None) -> LabelErrors:
        labels = self.labels if labels is None else labels
        predictions = self.predictions if predictions is None else predictions
        every = np.arange(len(self.x))
        votes = Votes(labels[self.near], np.ones(self.near.shape), np.zeros(len(every)))
        rows = TensorRows(torch.from_numpy(self.x))
        return find_label_errors(rows, every, labels, predictions, votes, every >= 0)


def refitted(x: np.ndarray, n_errors: int, shrinkage: float) -> np.ndarray:
    """Fit the regression without each row, whose weight is left out too."""
    m = len(x)
    weight = np.where(np.arange(m) < n_errors, 0.5 / n_errors, 0.5 / (m - n_errors))
    target = np.where(np.arange(m) < n_errors, -0.5, 0.5)
    centred = x - weight @ x
    penalty = shrinkage * np.square(centred * np.sqrt(weight)[:, None]).sum() / min(x.shape)
    found = []
    for i in range(m):
        rows = np.arange(m) != i
        design = np.column_stack([x[rows], np.ones(m - 1)])
        normal = design.T @ (weight[rows, None] * design) + np.diag([penalty] * x.shape[1] + [0.0])
        found.append(np.append(x[i], 1) @ np.linalg.solve(normal, design.T @ (weight[rows] * target[rows])))
    return np.array(found)


@pytest.mark.parametrize(("m", "d"), [(31, 5), (9, 20)])
def test_closed_form_is_refitting(m: int, d: int) -> None:
    x = np.random.default_rng(m).normal(size=(m, d))
    x[: m // 3, 0] += 2
    found = left_out(torch.from_numpy(x), m // 3).numpy()
    each = [refitted(x, m // 3, shrinkage) for shrinkage in SHRINKAGES]
    assert min(np.abs(found - one).max() for one in each) < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_wrong_labels_are_found(seed: int) -> None:
    world = World(seed, flipped=0.1)
    found = world.found()
    true = world.flipped & (world.labels != world.predictions)
    assert (found.wrong & true).sum() >= 0.5 * true.sum()
    assert (found.wrong & true).sum() >= 0.8 * found.wrong.sum()
    assert found.number == pytest.approx(true.sum(), rel=0.35)
    assert found.expected_false <= FDR
    assert found.reason == ""
    assert np.isnan(found.chance[world.labels == world.predictions]).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_slice_stays_the_models_own(seed: int) -> None:
    """Coherent errors whose vectors lie beside another class, which is what they are taken for."""
    clean = World(seed, slice_size=60)
    assert not clean.found().wrong.any()
    noisy = World(seed, flipped=0.1, slice_size=60)
    found, own = noisy.found(), noisy.inside & ~noisy.flipped & (noisy.labels != noisy.predictions)
    assert own.sum() > 25
    assert (found.wrong & own).sum() <= 0.25 * own.sum()
    assert (found.wrong & noisy.flipped).any()


@pytest.mark.parametrize("apart", [0.5, 1.0, 2.0])
def test_classes_that_overlap_have_no_wrong_labels(apart: float) -> None:
    assert not World(0, apart=apart).found().wrong.any()


def test_two_classes_of_the_same_images_have_none() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, CLASSES * EACH)
    for rate in (0.1, 0.3, 0.5):
        found = World(0).found(labels, np.where(rng.random(len(labels)) < rate, 1 - labels, labels))
        assert (found.wrong.any(), found.reason) == (False, NOT_APART)


def test_bad_input_is_sorted_as_the_models_own() -> None:
    world = World(0)
    all_wrong = world.found(labels=(world.truth + 1) % CLASSES, predictions=world.truth)
    assert (all_wrong.wrong.any(), all_wrong.reason) == (False, NO_RIGHT)
    assert world.found(predictions=world.truth).reason == NO_RIGHT  # no errors, so no pools
    one_class = world.found(labels=np.zeros(len(world.x), int), predictions=(world.truth == 3).astype(int))
    assert (one_class.wrong.any(), one_class.reason) == (False, NO_RIGHT)
    world.x[:], world.near[:] = 1.0, np.arange(20)  # vectors that tell nothing apart
    alike = world.found()
    assert (alike.wrong.any(), alike.reason) == (False, NOT_APART)
    assert (alike.chance[world.labels != world.predictions] == 0).all()


def test_pools_hold_each_error_once() -> None:
    labels, predictions = np.random.default_rng(0).integers(0, 5, (2, 600))
    predictions[:300] = labels[:300]
    looked_at = np.arange(600) % 7 > 0
    own = pools(labels, predictions, looked_at)
    errors = np.concatenate([pool.errors for pool in own])
    assert sorted(errors) == np.flatnonzero(looked_at & (labels != predictions)).tolist()
    for pool in own:
        (k,) = set(predictions[pool.errors].tolist())
        assert set(labels[pool.right].tolist()) == set(predictions[pool.right].tolist()) == {k}
        assert len(pool.right) >= FEWEST


@pytest.mark.parametrize(("level", "falling"), [(100, 400), (60, 100), (300, 0)])
def test_the_level_part_is_measured(level: int, falling: int) -> None:
    rng = np.random.default_rng(level)
    percentiles = np.concatenate([rng.random(level), rng.exponential(0.08, falling).clip(0, 1)])
    chances, number, reason = level_part([percentiles])
    assert reason == ""
    assert number == pytest.approx(level, rel=0.4)
    assert (np.diff(chances[np.argsort(percentiles)]) >= 0).all()


def test_a_falling_part_alone_is_none() -> None:
    falling = np.random.default_rng(0).exponential(0.15, 2000).clip(0, 1)
    assert level_part([falling])[1:] == (0.0, NOTHING_LEVEL)
    assert level_part([falling[:5]])[1:] == (0.0, NO_ERRORS)


@settings(max_examples=50)
@given(arrays.arrays(np.float64, st.integers(0, 40), elements=st.floats(0, 1)))
def test_what_is_called_is_the_surest_and_false_as_rarely_as_promised(chances: np.ndarray) -> None:
    wrong = called(chances)
    if wrong.any():
        assert (1 - chances[wrong]).mean() <= FDR + 1e-12
        assert chances[wrong].min() >= max(SURE, chances[~wrong].max(initial=0))
    assert wrong[chances == 1].all()
