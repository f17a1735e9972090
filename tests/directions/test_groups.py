"""Samples that belong together: which labellings are exchanged, what is tested, and that it is calibrated."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fdgpu import FailureDirections
from fdgpu.directions import groups as groups_module
from fdgpu.directions.groups import check_groups, distinct_rearrangements, near_duplicates
from fdgpu.directions.labellings import halves, permuted_labels, permuted_samples
from fdgpu.errors import InputError
from tests.directions.test_resampling import layout_of


def blocks_of(labels: np.ndarray, groups: np.ndarray) -> Counter[tuple[int, ...]]:
    return Counter(tuple(labels[groups == g].tolist()) for g in np.unique(groups))


def frames(
    objects: int, sizes: list[int], seed: int, d: int = 32, rate: float = 0.3, mixed: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, right and groups of objects that are seen in several frames each; right or wrong has nothing to do with x.

    All frames of an object share its answer, but for a share ``mixed`` of the frames, whose answer is turned over.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(objects), rng.choice(sizes, objects))
    x = rng.normal(size=(objects, d))[groups] + 0.3 * rng.normal(size=(len(groups), d))
    right = (np.arange(objects) >= round(rate * objects))[groups] ^ (rng.random(len(groups)) < mixed)
    return x.astype(np.float32), right, groups


@settings(max_examples=50)
@given(seed=st.integers(0, 9999))
def test_whole_blocks_are_exchanged_between_groups_of_one_size_and_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(14), rng.integers(1, 5, 14)))
    right = rng.random(len(groups)) < 0.6
    first = len(groups) // 2
    layout = layout_of(right, [first, len(groups) - first], groups)
    drawn, source = permuted_labels(layout, seed, 1, 3).numpy(), permuted_samples(layout, seed, 1, 3)
    assert np.array_equal(drawn, layout.labels[0][source].numpy())
    for rows in (slice(0, first), slice(first, len(groups))):
        for own in drawn:
            assert blocks_of(own[rows], groups[rows]) == blocks_of(np.where(right[rows], 1, -1), groups[rows])


def test_every_exchange_is_as_likely() -> None:
    groups = np.array([0, 1, 1, 0, 2, 2, 3])
    right = np.array([True, False, True, True, False, False, True])
    drawn = permuted_labels(layout_of(right, groups=groups), 0, 0, 30_000).numpy()
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 6  # three blocks of two; the singleton has nobody to exchange with
    assert chisquare(counts).pvalue > 1e-3
    assert exp(distinct_rearrangements(right, groups)) == pytest.approx(6)


def test_groups_of_one_are_permuted_as_samples_are() -> None:
    right = np.random.default_rng(0).random(30) < 0.7
    alone, grouped = layout_of(right, [18, 12]), layout_of(right, [18, 12], np.arange(30))
    assert torch.equal(permuted_labels(alone, 5, 0, 7), permuted_labels(grouped, 5, 0, 7))
    assert distinct_rearrangements(right, None) == pytest.approx(distinct_rearrangements(right, np.arange(30)))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 99))
def test_rearrangements_are_counted_one_by_one(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    right = np.random.default_rng(seed).random(len(groups)) < 0.5
    blocks = [tuple(right[groups == g]) for g in range(len(sizes))]
    every = {order for order in permutations(blocks) if [len(one) for one in order] == sizes}
    assert exp(distinct_rearrangements(right, groups)) == pytest.approx(len(every))


def test_halves_take_whole_groups_of_each_kind() -> None:
    _, right, groups = frames(20, [1, 2, 5], seed=1, mixed=0.2)
    layout = layout_of(right, groups=groups)
    (drawn,) = halves(layout, layout.labels, 3, 0, 50).numpy()
    kinds = {g: (right[groups == g].any(), (~right[groups == g]).any()) for g in range(20)}
    for own in drawn:
        taken = {g for g in range(20) if (own[groups == g] != 0).any()}
        assert all((own[groups == g] != 0).all() for g in taken)
        for kind in set(kinds.values()):
            of_kind = [g for g in range(20) if kinds[g] == kind]
            assert len(taken & set(of_kind)) == -(-len(of_kind) // 2)


def worlds(count: int, sizes: list[int], mixed: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    parts = [frames(24, sizes, seed, mixed=mixed) for seed in range(count)]
    labels = np.repeat(np.arange(count), [len(own) for own, _, _ in parts])
    groups = np.concatenate([1000 * k + own for k, (_, _, own) in enumerate(parts)])
    return np.concatenate([x for x, _, _ in parts]), labels, np.concatenate([own for _, own, _ in parts]), groups


@pytest.mark.parametrize(("sizes", "mixed"), [([6], 0.0), ([2, 5], 0.0), ([3, 4], 0.15)])
def test_p_values_of_nothing_are_uniform_where_frames_are_in_groups(sizes: list[int], mixed: float) -> None:
    x, labels, right, groups = worlds(150, sizes, mixed)
    fit = FailureDirections(n_permutations=39, Cs=(1e-3, 1e-1)).fit(x, labels, right, groups=groups)
    p = fit.p_value_[np.isfinite(fit.p_value_[:, 0]), 0]
    assert len(p) > 100
    for level in (0.05, 0.25):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / len(p))
    naive = FailureDirections(n_permutations=39, Cs=(1e-3, 1e-1)).fit(x, labels, right).p_value_
    assert (naive <= 0.05).mean() > (0.2 if not mixed else 0.08)  # frame by frame, nothing looks like much


def test_what_is_planted_is_found_in_groups() -> None:
    x, right, groups = frames(40, [3, 4], seed=2)
    x[:, 0] += np.where(right, 6, -6)
    fit = FailureDirections(n_permutations=99, nested=True, n_resamples=4).fit(
        x, np.zeros(len(x), int), right, groups=groups
    )
    assert fit.p_value_[0, 0] == 0.01
    assert fit.p_value_reason_ == [""]
    assert fit.nested_score_[0] > 0.75
    assert np.isfinite(fit.resampled_coef_).all()


def test_too_few_exchanges_have_no_p_value_and_say_why(tmp_path: Path) -> None:
    x, right, groups = frames(8, [3], seed=3)
    groups = np.where(groups == 0, 100, groups)
    sizes = np.repeat(np.arange(8), 3)
    lonely = np.concatenate([np.flatnonzero(sizes == g)[: 1 + g % 3] for g in range(8)])  # groups of 1, 2 and 3
    fit = FailureDirections(n_permutations=19).fit(
        x[lonely], np.zeros(len(lonely), int), right[lonely], groups=groups[lonely]
    )
    assert fit.status_ == ["ok"]
    assert np.isnan(fit.p_value_).all()
    assert not fit.significant_.any()
    assert "can be rearranged in only" in fit.p_value_reason_[0]
    assert np.isfinite(fit.cv_score_).all()
    fit.save(tmp_path / "fit.safetensors")
    assert FailureDirections.load(tmp_path / "fit.safetensors").p_value_reason_ == fit.p_value_reason_


def test_status_counts_the_groups_that_hold_a_kind() -> None:
    x = np.random.default_rng(0).normal(size=(36, 4)).astype(np.float32)
    labels, groups = np.repeat([0, 1, 2], 12), np.arange(36) // 4
    right = np.ones(36, bool)
    right[[0, 1, 2]] = False  # all errors of class 0 in one group
    right[12:24] = False
    right[[12, 13]] = True  # all right answers of class 1 in one group
    right[[24, 28]] = False
    fit = FailureDirections().fit(x, labels, right, groups=groups)
    assert fit.status_ == ["too_few_errors", "too_few_correct", "ok"]


def test_ids_of_any_kind() -> None:
    expected = [1, 0, 1, 2]
    for ids in (
        [5, 2, 5, 9], np.array([5, 2, 5, 9]), torch.tensor([5, 2, 5, 9]), ["b", "a", "b", "c"],
        np.array(["b", "a", "b", "c"]), [("x", 2), ("x", 1), ("x", 2), ("y", 0)], np.array([0.5, 0.25, 0.5, 3.0]),
    ):  # fmt: skip
        assert check_groups(ids, 4).tolist() == expected
    assert check_groups(["b", 1, "b", None], 4).tolist() == [0, 1, 0, 2]  # no order: by first appearance


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([1, 2], "groups has 2 entries, embeddings has 3 rows"),
        (np.ones((3, 1)), r"groups has shape \(3, 1\): pass one id a row"),
        (np.array([1, np.nan, 2]), "groups holds NaN"),
        ([[1], [2], [3]], "cannot be told apart"),
    ],
)
def test_groups_that_cannot_be(groups: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        FailureDirections().fit(np.eye(3, dtype=np.float32), np.zeros(3, int), np.ones(3, bool), groups=groups)


# --- samples that look alike ----------------------------------------------------------------------------------------


def seen(objects: int, count: int, noise: float, seed: int = 0, d: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(size=(objects, d)), count, axis=0) + noise * rng.normal(size=(objects * count, d))


def alike(x: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    return near_duplicates(x, np.zeros(len(x), int) if labels is None else labels)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("count", [2, 6])
def test_frames_are_found_and_nothing_else(count: int, dtype: type) -> None:
    x = seen(40, count, 0.1).astype(dtype)
    assert np.array_equal(alike(x), np.arange(len(x)) // count * count)


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_a_class_whose_vectors_are_all_close_is_looked_at_as_any_other(spread: float) -> None:
    x = 3 + spread * seen(40, 3, 0.1)
    assert np.corrcoef(x).min() > -1  # not degenerate
    cosine = (x[0] @ x[-1]) / np.linalg.norm(x[0]) / np.linalg.norm(x[-1])
    assert cosine > (0.99999 if spread < 1 else 0.8)
    assert np.array_equal(alike(x), np.arange(120) // 3 * 3)
    alone = 3 + spread * seen(120, 1, 0.0)
    assert np.array_equal(alike(alone), np.arange(120))


@pytest.mark.parametrize(("n", "d"), [(10, 16), (100, 16), (400, 8), (400, 64), (400, 5)])
def test_independent_samples_are_hardly_ever_joined(n: int, d: int) -> None:
    joined = [np.mean(alike(seen(n, 1, 0.0, seed, d)) != np.arange(n)) for seed in range(10)]
    assert np.mean(joined) <= 0.01


def test_a_class_of_a_few_kinds_of_things_is_no_set_of_duplicates() -> None:
    kinds = seen(4, 100, 0.02)
    assert np.array_equal(alike(kinds), np.arange(400))


def test_nothing_is_chained() -> None:
    """A slow pan: neighbours are alike, the ends are not."""
    angles = np.linspace(0, np.pi, 60)
    pan = np.zeros((60, 64))
    pan[:, 0], pan[:, 1] = np.cos(angles), np.sin(angles)
    rng = np.random.default_rng(0)
    x = np.concatenate([8 * pan, rng.normal(size=(140, 64))])
    found = alike(x)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert ((z * z[found]).sum(axis=1) >= 0.9 - 1e-6).all()  # alike to the first of the group, not to the one before


def test_each_class_is_looked_at_alone_in_whatever_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.concatenate([seen(30, 2, 0.1, 1), seen(5, 1, 0.0, 2), seen(20, 3, 0.1, 3), seen(1, 1, 0, 4)])
    labels = np.repeat([7, 3, 9, 8], [60, 5, 60, 1])
    order = np.random.default_rng(0).permutation(len(x))
    x, labels = x[order], labels[order]
    whole = alike(x, labels)
    for k in (7, 3, 9, 8):
        own = np.flatnonzero(labels == k)
        assert np.array_equal(whole[own], own[alike(x[own])])
    assert len(np.unique(whole)) == 30 + 5 + 20 + 1
    monkeypatch.setattr(groups_module, "PAIR_BYTES", dict.fromkeys(("cpu", "cuda"), 24 * 61 * 7))
    assert np.array_equal(alike(x, labels), whole)


def test_exact_copies_are_found_among_identical_and_constant_dimensions() -> None:
    x = seen(50, 1, 0.0)
    x[:, :3] = 7.0
    x[10:15] = x[:5]
    expected = np.arange(50)
    expected[10:15] = np.arange(5)
    assert np.array_equal(alike(x), expected)
    assert np.array_equal(alike(np.ones((6, 4))), np.arange(6))  # more than a tenth of the pairs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_column_that_only_rounds_changes_nothing(dtype: type) -> None:
    x = seen(60, 2, 0.1, d=24).astype(dtype)
    constant = np.full((120, 200), 0.1, dtype)  # whose mean is off by an ulp
    assert np.array_equal(alike(np.hstack([x, constant])), alike(x))
    with pytest.raises(InputError, match="embeddings has no row"):
        alike(x[:0])


@pytest.mark.parametrize("stop_after", [0, 4])
def test_a_class_without_shared_groups_is_fitted_as_without_groups(stop_after: int) -> None:
    rng = np.random.default_rng(0)
    x, labels, right = rng.normal(size=(120, 8)), np.repeat([0, 1], 60), rng.random(120) < 0.7
    groups = np.arange(120)
    groups[61:100:2] = groups[60:99:2]  # pairs in class 1 alone
    settings = {"n_permutations": 30, "stop_after": stop_after}
    plain = FailureDirections(**settings).fit(x, labels, right)
    grouped = FailureDirections(**settings).fit(x, labels, right, groups=groups)
    assert grouped.p_value_[0] == plain.p_value_[0]
    assert np.array_equal(grouped.coef_[0], plain.coef_[0])
    assert grouped.cv_score_[1] != plain.cv_score_[1]  # other folds
