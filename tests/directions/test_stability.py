from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from fdgpu import FailureDirections
from fdgpu.directions import numba_backend, stability
from fdgpu.directions.cuml_backend import CumlBackend
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.problem import ClassTask, Samples, SolverSettings
from fdgpu.directions.stability import resampled_directions
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import InputError, NotFittedError
from fdgpu.kernels.sheets_numba import draw_halves
from tests.conftest import make_class
from tests.directions.planting import plant_modes
from tests.directions.standing_in import stand_in

D = 16
SETTINGS = SolverSettings((1e-3, 1.0), cv=2, tol=1e-4, max_iter=100_000)


def task(n: int = 41, seed: int = 0) -> ClassTask:
    data = make_class(n, D, 0.3, 1.0, seed)
    return ClassTask(0, np.arange(n), Samples(torch.from_numpy(data.x), data.right, Whitening.identity(D)))


def many(*sizes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [make_class(n, D, 0.25, 1.0, n) for n in sizes]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.concatenate([p.x for p in parts]), labels, np.concatenate([p.right for p in parts])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1, -1, 0]), max_size=40), st.integers(0, 5), st.integers(0, 2**32))
def test_a_half_is_half_of_the_right_and_half_of_the_wrong(labels: list[int], count: int, seed: int) -> None:
    whole = np.array(labels, np.int8)
    halves = np.full((count, len(whole)), 7, np.int8)
    draw_halves(np.random.default_rng(seed), whole, halves)
    for half in halves:
        assert ((half == whole) | (half == 0)).all()
        for kind in (1, -1):
            assert (half == kind).sum() == -(-(whole == kind).sum() // 2)


def test_every_sample_is_as_likely_to_be_drawn() -> None:
    halves = np.zeros((4000, 21), np.int8)
    draw_halves(np.random.default_rng(0), np.repeat([1, -1], [15, 6]).astype(np.int8), halves)
    share = (halves != 0).mean(axis=0)
    assert np.abs(share - np.repeat([8 / 15, 3 / 6], [15, 6])).max() < 4 * np.sqrt(0.25 / 4000)


def test_a_half_is_fitted_as_the_samples_alone_would_be() -> None:
    whole = task()
    opened = NumbaBackend(1).open([whole], SETTINGS)
    batch = next(opened)
    labels = batch.layout.labels
    found = resampled_directions(batch, labels, np.array([[1]]), [(3, 0, 1)], 4)
    assert found.shape == (1, 1, 4, D)
    halves = np.zeros((4, whole.n), np.int8)
    draw_halves(np.random.default_rng((3, 0, 1, 1)), labels[0], halves)
    x = whole.load(SETTINGS).x.astype(np.float64)
    for half, w in zip(halves, found[0, 0], strict=True):
        own = half != 0
        oracle = SVC(kernel="linear", C=1.0, class_weight="balanced", tol=1e-6).fit(x[own], half[own])
        assert np.linalg.norm(w - oracle.coef_[0]) <= 2e-3 * np.linalg.norm(oracle.coef_[0])


def test_halves_vary_as_new_samples_would() -> None:
    """Where every alpha is at its bound, w is the difference of two means, whose variance is known."""
    n, d, halves = 400, 6, 600
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)).astype(np.float32) / 10 + np.eye(d, dtype=np.float32)[0]
    right = rng.permutation(n) >= 100
    fit = FailureDirections(Cs=(1e-6,), n_resamples=halves).fit(x, np.zeros(n, int), right)
    z = fit.transform(x).astype(np.float64)
    expected = z[right].var(axis=0, ddof=1) / right.sum() + z[~right].var(axis=0, ddof=1) / (~right).sum()
    # half of the samples, and so half of the sum that w is
    spread = 2 * fit.resampled_coef_[0, 0].astype(np.float64) / 1e-6 / (n / 2)
    assert np.allclose(spread.var(axis=0), expected, rtol=0.25)
    assert np.allclose(spread.mean(axis=0), fit.coef_[0, 0] / 1e-6 / (n / 2), atol=4 * np.sqrt(expected.max() / halves))


def test_a_class_keeps_its_halves_whatever_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, right = many(40, 60, 50)
    whole = FailureDirections(n_resamples=7, whiten=False).fit(x, labels, right)
    first = FailureDirections(n_resamples=7, whiten=False).fit(x[:40], labels[:40], right[:40])
    assert np.array_equal(whole.resampled_coef_[0], first.resampled_coef_[0])
    monkeypatch.setattr(stability, "ROUND_LABELS", 2 * 150)
    in_rounds = FailureDirections(n_resamples=7, whiten=False).fit(x, labels, right)
    assert np.allclose(in_rounds.resampled_coef_, whole.resampled_coef_, rtol=1e-4, atol=1e-8)
    other = FailureDirections(n_resamples=7, whiten=False, random_state=1).fit(x, labels, right)
    assert not np.array_equal(other.resampled_coef_, whole.resampled_coef_)
    assert np.array_equal(other.coef_, whole.coef_)


def test_every_mode_is_halved_among_its_own_errors() -> None:
    planted = plant_modes(500, 32, [0.25, 0.2], seed=2)
    fit = FailureDirections(n_directions=3, n_resamples=8).fit(planted.x, np.zeros(500, int), planted.right)
    assert fit.n_directions_.tolist() == [2]
    halves = fit.resampled_coef_[0]
    assert halves.shape == (3, 8, 32)
    assert np.isnan(halves[2]).all()
    unit = halves[:2] / np.linalg.norm(halves[:2], axis=-1, keepdims=True)
    own, other = (np.einsum("rbd,rd->rb", unit, fit.directions_[0, [i, j]]) for i, j in ((0, 1), (1, 0)))
    assert own.min() > 0.85
    assert (own > other + 0.2).all()


def test_backends_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    seeds, places = [(0, 0, 1)], np.array([[1]])

    def halves(backend: object) -> np.ndarray:
        opened = backend.open([task()], SETTINGS)
        batch = next(opened)
        return resampled_directions(batch, batch.layout.labels, places, seeds, 3)

    expected = halves(NumbaBackend(1))
    tolerance = 3e-3 * np.linalg.norm(expected, axis=-1).max()
    assert np.abs(halves(CumlBackend("cpu")) - expected).max() <= tolerance
    monkeypatch.setattr(numba_backend, "BATCH_BYTES", 4 * 30**2)  # too large for its Gram matrix now
    assert next(NumbaBackend(1).open([task()], SETTINGS)).solver == "newton"
    assert np.abs(halves(NumbaBackend(1)) - expected).max() <= tolerance


def test_classes_without_a_direction_and_fits_without_halves() -> None:
    x, labels, right = many(40, 30)
    right = right | (labels == 1)
    fit = FailureDirections(n_resamples=4).fit(x, labels, right)
    assert np.isfinite(fit.resampled_coef_[0]).all()
    assert np.isnan(fit.resampled_coef_[1]).all()
    assert FailureDirections().fit(x, labels, right).resampled_coef_.shape == (2, 1, 0, D)


def test_two_errors_are_enough() -> None:
    data = make_class(30, D, 2 / 30, 2.0, seed=0)
    fit = FailureDirections(n_resamples=5).fit(data.x, np.zeros(30, int), data.right)
    assert (np.linalg.norm(fit.resampled_coef_[0, 0], axis=-1) > 0).all()


def test_captions_are_scored_by_their_directions() -> None:
    x, labels, right = many(60, 50)
    fit = FailureDirections(n_resamples=6).fit(torch.from_numpy(x), labels, right)
    captions = torch.nn.functional.normalize(torch.randn(5, D, generator=torch.Generator().manual_seed(0)), dim=1)
    directions = fit.caption_directions(captions, captions[2])
    assert torch.allclose(directions[[0, 1, 3, 4]].norm(dim=1), torch.ones(4, dtype=directions.dtype))
    assert torch.isnan(directions[2]).all()
    along = directions.double() @ fit.coef_[1, 0].double()
    assert torch.allclose(fit.score_captions(captions, captions[2], 1).double(), along, equal_nan=True)


def test_halves_are_not_stored(tmp_path: Path) -> None:
    x, labels, right = many(40)
    FailureDirections(n_resamples=4).fit(x, labels, right).save(tmp_path / "fit.safetensors")
    loaded = FailureDirections.load(tmp_path / "fit.safetensors")
    assert loaded.n_resamples == 4
    with pytest.raises(NotFittedError, match="resampled_coef_ is not stored with a fit"):
        _ = loaded.resampled_coef_
    with pytest.raises(NotFittedError, match=r"call fit\(embeddings"):
        _ = FailureDirections().resampled_coef_


@pytest.mark.parametrize("n", [-1, 1, 2.5])
def test_a_number_of_halves_that_cannot_be(n: float) -> None:
    with pytest.raises(InputError, match=f"n_resamples is {n}"):
        FailureDirections(n_resamples=n)
