from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.svm import SVC

from fdgpu import FailureDirections
from fdgpu.directions import numba_backend, testing
from fdgpu.directions.batch import SolverBackend
from fdgpu.directions.cuml_backend import CumlBackend
from fdgpu.directions.groups import numbered
from fdgpu.directions.labellings import Layout, halves, permuted_labels, permuted_samples
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SearchSettings, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.directions.testing import PermutationTests, false_discovery_rates, permutation_test, resampled_directions
from fdgpu.errors import InputError, NotFittedError
from tests.conftest import make_class
from tests.directions.cuml_stand_in import stand_in
from tests.directions.planting import class_samples, plant_modes

D = 16
SETTINGS = SolverSettings((1e-3, 1.0), cv=2, tol=1e-4, max_iter=100_000)


# --- permutations, and what they are compared with ------------------------------------------------------------------


def many_classes(count: int, n: int, d: int, separation: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [make_class(n, d, 0.2, separation, seed + k) for k in range(count)]
    labels = np.repeat(np.arange(count), n)
    return np.concatenate([p.x for p in parts]), labels, np.concatenate([p.right for p in parts])


def test_p_values_are_uniform_where_there_is_nothing_to_find() -> None:
    fit = FailureDirections(n_permutations=39).fit(*many_classes(400, 60, 16, 0.0, seed=0))
    p = fit.p_value_[:, 0]
    for level in (0.05, 0.25, 0.5):  # ties of a coarse score make it a little conservative
        share, noise = (p <= level).mean(), np.sqrt(level * (1 - level) / 400)
        assert level - 0.35 * level - 3 * noise <= share <= level + 3 * noise
    assert fit.significant_.mean() <= 0.01
    assert (fit.n_permutations_ == 39).all()


def test_a_planted_failure_reaches_the_smallest_p_value() -> None:
    x, labels, right = many_classes(3, 100, 16, 1.5, seed=0)
    fit = FailureDirections(n_permutations=99).fit(x, labels, right)
    assert (fit.p_value_ == 1 / 100).all()
    assert (fit.q_value_ == 1 / 100).all()
    assert fit.significant_.all()


def test_a_class_keeps_its_p_value_beside_any_others() -> None:
    x, labels, right = many_classes(3, 60, 16, 0.4, seed=5)
    whole = FailureDirections(n_permutations=60, whiten=False).fit(x, labels, right)
    first = FailureDirections(n_permutations=60, whiten=False).fit(x[:60], labels[:60], right[:60])
    assert whole.p_value_[0, 0] == first.p_value_[0, 0]


def test_the_same_seed_gives_the_same_p_values_and_another_seed_others() -> None:
    data = many_classes(6, 60, 16, 0.3, seed=9)
    p = [FailureDirections(n_permutations=50, random_state=seed).fit(*data).p_value_ for seed in (1, 1, 2)]
    assert np.array_equal(p[0], p[1])
    assert not np.array_equal(p[0], p[2])


def test_an_early_stop_settles_null_classes_only() -> None:
    null, planted = many_classes(8, 60, 16, 0.0, seed=20), many_classes(2, 60, 16, 3.0, seed=40)
    x, right = np.concatenate([null[0], planted[0]]), np.concatenate([null[2], planted[2]])
    labels = np.repeat(np.arange(10), 60)
    every = FailureDirections(n_permutations=200).fit(x, labels, right)
    some = FailureDirections(n_permutations=200, stop_after=10).fit(x, labels, right)
    stopped = some.n_permutations_ < 200
    assert stopped[:8].any()
    assert not stopped[8:].any()
    assert np.array_equal(some.p_value_[~stopped], every.p_value_[~stopped])
    # p = h / m at the h-th exceedance
    assert np.allclose(some.p_value_[stopped, 0], 10 / some.n_permutations_[stopped])
    assert np.abs(some.p_value_ - every.p_value_).max() < 0.35


class _Drawn:
    """A batch whose null scores are given: permutation ``b`` scores ``null[b]``."""

    solver, settings = "gram", SETTINGS

    def __init__(self, null: list[float]) -> None:
        self.layout = layout_of(np.array([True, True, False, False]))
        self._null = iter(null)

    permutation_bytes = 1

    def null_statistics(self, seed, first, count, classes=None):  # noqa: ARG002 - the protocol's names
        return torch.tensor([[next(self._null)] for _ in range(count)], dtype=torch.float64)


@pytest.mark.parametrize(
    ("null", "stop_after", "p", "drawn"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0, 1 / 5, 4),
        ([0.1, 0.5, 0.3, 0.9], 0, 3 / 5, 4),
        ([0.9, 0.1, 0.9, 0.9], 2, 2 / 3, 3),  # settled at the second exceedance
        ([0.9, 0.1, 0.1, 0.9], 2, 2 / 4, 4),  # at the last draw too
        ([0.9, 0.1, 0.1, 0.1], 2, 2 / 5, 4),
    ],
)
def test_the_p_value_counts_ties_and_stops_by_the_rule(
    null: list[float], stop_after: int, p: float, drawn: int
) -> None:
    observed = torch.tensor([0.5], dtype=torch.float64)
    exceeded, used = permutation_test(_Drawn(null), observed, 0, range(4), stop_after)
    search = SearchSettings(n_permutations=4, stop_after=stop_after, fdr=0.9)
    (found,) = PermutationTests(search, np.zeros(1, np.int64), exceeded.numpy(), used.numpy()).p_values
    assert float(found) == pytest.approx(p)
    assert used[0] == drawn


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_its_definition(values: list[float]) -> None:
    p = np.array(values)
    q = false_discovery_rates(p)
    for level in (0.05, 0.2, 0.7):
        ordered = np.sort(p)
        below = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / len(p) + 1e-15)
        expected = p <= (ordered[below[-1]] if len(below) else -1)
        near = np.isclose(q, level, atol=1e-12)
        assert ((q <= level) == expected)[~near].all()
    assert (q >= p - 1e-15).all()


def test_q_values_pass_over_what_was_not_tested() -> None:
    q = false_discovery_rates(np.array([[0.01, np.nan], [0.04, 0.5]]))
    assert np.allclose(q, [[0.03, np.nan], [0.06, 0.5]], equal_nan=True)
    assert np.isnan(false_discovery_rates(np.full(3, np.nan))).all()


def test_nested_scores_are_not_optimistic_on_noise_and_agree_on_signal() -> None:
    noise = FailureDirections(nested=True).fit(*many_classes(150, 60, 16, 0.0, seed=100))
    assert noise.cv_score_.mean() > 0.515
    assert abs(noise.nested_score_.mean() - 0.5) < 0.02
    signal = FailureDirections(nested=True).fit(*many_classes(5, 200, 16, 3.0, seed=100))
    assert np.abs(signal.nested_score_ - signal.cv_score_[:, 0]).max() < 0.05


def test_a_class_too_small_to_nest_has_no_nested_score() -> None:
    data = make_class(30, 8, 3 / 30, 2.0, seed=0)  # 3 errors: an outer fold leaves one
    fit = FailureDirections(nested=True).fit(data.x, np.zeros(30, int), data.right)
    assert fit.status_ == ["ok"]
    assert np.isnan(fit.nested_score_).all()


# --- drawing --------------------------------------------------------------------------------------------------------


def layout_of(right: np.ndarray, sizes: list[int] | None = None, groups: np.ndarray | None = None) -> Layout:
    classes = class_samples(np.zeros((len(right), 1), np.float32), right, sizes)
    if groups is not None:
        classes = [replace(one, groups=numbered(groups[one.rows])) for one in classes]
    return Layout.of(classes, torch.device("cpu"))


@given(seed=st.integers(-5, 1000), n=st.integers(2, 30), p=st.integers(1, 5))
@settings(max_examples=50)
def test_permutations_keep_the_number_of_errors_and_repeat_in_any_rounds(seed: int, n: int, p: int) -> None:
    n_wrong = seed % (n + 1)
    layout = layout_of(np.arange(n + 7) % (n + 7) >= n_wrong, [n, 7])
    drawn = permuted_labels(layout, seed, 0, p)
    assert torch.equal(torch.cat([permuted_labels(layout, seed, b, 1) for b in range(p)]), drawn)
    assert set(drawn.unique().tolist()) <= {-1, 1}
    assert ((drawn[:, :n] == -1).sum(dim=1) == min(n_wrong, n)).all()


@given(seed=st.integers(0, 1000), errors=st.floats(0, 1))
@settings(max_examples=30)
def test_labels_are_permuted_as_any_payload_is(seed: int, errors: float) -> None:
    right = np.random.default_rng(seed).random(60) >= errors
    layout = layout_of(right, [35, 5, 20])
    source = permuted_samples(layout, seed, 3, 4)
    assert torch.equal(layout.labels[0][source], permuted_labels(layout, seed, 3, 4))
    assert (source.sort(dim=1).values == torch.arange(60)).all()  # nothing is lost, a loss neither
    assert (layout.segments.of[source] == layout.segments.of).all()


def test_every_permutation_is_as_likely() -> None:
    layout = layout_of(np.array([True, True, True, False, False]))
    drawn = permuted_labels(layout, 0, 0, 60_000).numpy()
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 10
    assert chisquare(counts).pvalue > 1e-3
    _, after = np.unique(np.concatenate([drawn[::2], drawn[1::2]], axis=1), axis=0, return_counts=True)
    assert len(after) == 100  # one says nothing of the next
    assert chisquare(after).pvalue > 1e-3


@pytest.mark.parametrize("what", ["class", "seed"])
def test_neighbouring_classes_and_seeds_are_drawn_independently(what: str) -> None:
    right = np.array([True, True, True, False, False])
    if what == "class":
        drawn = permuted_labels(layout_of(np.tile(right, 2), [5, 5]), 4, 0, 30_000).numpy()
    else:
        drawn = np.concatenate([permuted_labels(layout_of(right), seed, 0, 30_000).numpy() for seed in (4, 5)], axis=1)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 100
    assert chisquare(counts).pvalue > 1e-3


# --- resamples ------------------------------------------------------------------------------------------------------


def one_class(n: int = 41, seed: int = 0) -> ClassSamples:
    data = make_class(n, D, 0.3, 1.0, seed)
    (samples,) = class_samples(data.x, data.right)
    return samples


def many(*sizes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [make_class(n, D, 0.25, 1.0, n) for n in sizes]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.concatenate([p.x for p in parts]), labels, np.concatenate([p.right for p in parts])


@settings(max_examples=50)
@given(st.lists(st.sampled_from([1, -1, 0]), min_size=1, max_size=40), st.integers(1, 5), st.integers(0, 2**32))
def test_a_resample_is_half_of_each_kind(labels: list[int], count: int, seed: int) -> None:
    whole = np.array(labels, np.int8)
    (drawn,) = halves(layout_of(whole > 0), torch.from_numpy(whole)[None], seed, 0, count).numpy()
    assert drawn.shape == (count, len(labels))
    for own in drawn:
        assert ((own == whole) | (own == 0)).all()
        for kind in (1, -1):
            assert (own == kind).sum() == -(-(whole == kind).sum() // 2)


def test_every_sample_is_as_likely_to_be_drawn() -> None:
    labels = np.repeat([1, -1], [15, 6]).astype(np.int8)
    (drawn,) = halves(layout_of(labels > 0), torch.from_numpy(labels)[None], 0, 0, 4000).numpy()
    share = (drawn != 0).mean(axis=0)
    assert np.abs(share - np.repeat([8 / 15, 3 / 6], [15, 6])).max() < 4 * np.sqrt(0.25 / 4000)


def test_a_resample_is_fitted_as_the_samples_alone_would_be() -> None:
    whole = one_class()
    batch = NumbaBackend(1).open([whole], SETTINGS)
    labels = batch.layout.labels
    found = resampled_directions(batch, labels, torch.tensor([[1]]), 3, 4)
    assert found.shape == (1, 1, 4, D)
    (resamples,) = halves(batch.layout, labels, 3, 0, 4).numpy()
    x = whitened([whole], SETTINGS.dtype, torch.device("cpu")).double().numpy()
    for own_labels, w in zip(resamples, found[0, 0].numpy(), strict=True):
        own = own_labels != 0
        oracle = SVC(kernel="linear", C=1.0, class_weight="balanced", tol=1e-6).fit(x[own], own_labels[own])
        assert np.linalg.norm(w - oracle.coef_[0]) <= 2e-3 * np.linalg.norm(oracle.coef_[0])


def test_resamples_vary_as_new_samples_would() -> None:
    """Where every alpha is at its bound, w is the difference of two means, whose variance is known."""
    n, d, resamples = 400, 6, 600
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)).astype(np.float32) / 10 + np.eye(d, dtype=np.float32)[0]
    right = rng.permutation(n) >= 100
    fit = FailureDirections(Cs=(1e-6,), n_resamples=resamples).fit(x, np.zeros(n, int), right)
    z = fit.transform(x).astype(np.float64)
    expected = z[right].var(axis=0, ddof=1) / right.sum() + z[~right].var(axis=0, ddof=1) / (~right).sum()
    # half of the samples, and so half of the sum that w is
    spread = 2 * fit.resampled_coef_[0, 0].astype(np.float64) / 1e-6 / (n / 2)
    assert np.allclose(spread.var(axis=0), expected, rtol=0.25)
    assert np.allclose(
        spread.mean(axis=0), fit.coef_[0, 0] / 1e-6 / (n / 2), atol=4 * np.sqrt(expected.max() / resamples)
    )


def test_a_class_keeps_its_resamples_beside_any_others(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, right = many(40, 60, 50)
    whole = FailureDirections(n_resamples=7, whiten=False).fit(x, labels, right)
    first = FailureDirections(n_resamples=7, whiten=False).fit(x[:40], labels[:40], right[:40])
    assert np.array_equal(whole.resampled_coef_[0], first.resampled_coef_[0])
    monkeypatch.setattr(testing, "RESAMPLED_LABELS", 2 * 150)
    in_rounds = FailureDirections(n_resamples=7, whiten=False).fit(x, labels, right)
    assert np.allclose(in_rounds.resampled_coef_, whole.resampled_coef_, rtol=1e-4, atol=1e-8)
    other = FailureDirections(n_resamples=7, whiten=False, random_state=1).fit(x, labels, right)
    assert not np.array_equal(other.resampled_coef_, whole.resampled_coef_)
    assert np.array_equal(other.coef_, whole.coef_)


def test_every_mode_is_resampled_among_its_own_errors() -> None:
    planted = plant_modes(500, 32, [0.25, 0.2], seed=2)
    fit = FailureDirections(n_directions=3, n_resamples=8).fit(planted.x, np.zeros(500, int), planted.right)
    assert fit.n_directions_.tolist() == [2]
    resamples = fit.resampled_coef_[0]
    assert resamples.shape == (3, 8, 32)
    assert np.isnan(resamples[2]).all()
    unit = resamples[:2] / np.linalg.norm(resamples[:2], axis=-1, keepdims=True)
    own, other = (np.einsum("rbd,rd->rb", unit, fit.directions_[0, [i, j]]) for i, j in ((0, 1), (1, 0)))
    assert own.min() > 0.85
    assert (own > other + 0.2).all()


def test_backends_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)

    def resamples(backend: SolverBackend) -> np.ndarray:
        batch = backend.open([one_class()], SETTINGS)
        return resampled_directions(batch, batch.layout.labels, torch.tensor([[1]]), 0, 3).numpy()

    expected = resamples(NumbaBackend(1))
    tolerance = 3e-3 * np.linalg.norm(expected, axis=-1).max()
    assert np.abs(resamples(CumlBackend("cpu")) - expected).max() <= tolerance
    monkeypatch.setattr(numba_backend, "CLASS_BYTES", 4 * 30**2)  # too large for its Gram matrix now
    assert NumbaBackend(1).open([one_class()], SETTINGS).solver == "newton"
    assert np.abs(resamples(NumbaBackend(1)) - expected).max() <= tolerance


def test_classes_without_a_direction_and_fits_without_resamples() -> None:
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


def test_resamples_are_not_stored(tmp_path: Path) -> None:
    x, labels, right = many(40)
    FailureDirections(n_resamples=4).fit(x, labels, right).save(tmp_path / "fit.safetensors")
    loaded = FailureDirections.load(tmp_path / "fit.safetensors")
    assert loaded.n_resamples == 4
    with pytest.raises(NotFittedError, match="resampled_coef_ is not stored with a fit"):
        _ = loaded.resampled_coef_
    with pytest.raises(NotFittedError, match=r"call fit\(embeddings"):
        _ = FailureDirections().resampled_coef_


@pytest.mark.parametrize("n", [-1, 1, 2.5])
def test_a_number_of_resamples_that_cannot_be(n: float) -> None:
    with pytest.raises(InputError, match=f"n_resamples is {n}"):
        FailureDirections(n_resamples=n).check()
