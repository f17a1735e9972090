"""Embeddings that are had in parts: found is what a tensor gives, bit for bit, and no more is held than a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.directions import Fit, groups, near_duplicates
from fdgpu.errors import InputError
from fdgpu.rows import TensorRows, as_rows
from tests.conftest import make_class
from tests.counted_rows import CountedRows, read_in_blocks
from tests.live_bytes import LiveBytes

D = 12
NOT_FOUND = {"solver_settings", "search_settings", "test_seconds", "whitening"}


@contextmanager
def blocks_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        read_in_blocks(monkeypatch, size, D)
        monkeypatch.setattr(groups, "ROW_BYTES", dict.fromkeys(("cpu", "cuda"), 4 * D * size))
        yield


def data(dtype: torch.dtype = torch.float32, classes: int = 3, n: int = 30) -> tuple[torch.Tensor, np.ndarray, ...]:
    """Three classes in a random order, and who is right."""
    parts = [make_class(n + k, D, 0.3, 1.0, seed=k) for k in range(classes)]
    order = np.random.default_rng(0).permutation(sum(len(part.x) for part in parts))
    x = torch.from_numpy(np.concatenate([part.x for part in parts])[order]).to(dtype)
    labels = np.repeat(np.arange(classes), [len(part.x) for part in parts])[order]
    return x, labels, np.concatenate([part.right for part in parts])[order]


def assert_same_fit(one: Fit, other: Fit) -> None:
    for name in (field.name for field in fields(Fit)):
        if name not in NOT_FOUND:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.whitening.mean, other.whitening.mean)
    np.testing.assert_array_equal(one.whitening.scale, other.whitening.scale)


@given(
    st.integers(1, 100),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=12)
def test_a_fit_of_rows_is_that_of_their_tensor(
    size: int, dtype: torch.dtype, whiten: bool, apart: bool, several: bool
) -> None:
    x, labels, right = data(dtype)
    if several:  # classes of a row
        labels, right = np.stack([labels, 3 + labels % 2], axis=1), np.stack([right, right[::-1]], axis=1)
    reference = x[40:] if apart else None
    made = {"whiten": whiten, "n_permutations": 9, "n_resamples": 2, "nested": True, "Cs": (1e-2, 1.0)}
    plain = FailureDirections(**made).fit(x, labels, right, reference)
    with blocks_of(size):
        rows = CountedRows(x)
        found = FailureDirections(**made).fit(
            rows, labels, right, None if reference is None else CountedRows(reference)
        )
        assert_same_fit(found.fitted, plain.fitted)
        assert torch.equal(found.decision_function(rows, labels), plain.decision_function(x, labels))
        own = labels[:, 0] if several else labels
        assert torch.equal(found.predict(rows, own), plain.predict(x, own))
    assert rows.most <= size


@pytest.mark.parametrize("apart", [False, True])
def test_each_row_is_read_once_for_each_thing_that_is_asked_of_it(apart: bool) -> None:
    x, labels, right = data()
    rows, reference = CountedRows(x), CountedRows(x)
    fit = FailureDirections(n_permutations=20, n_resamples=3, nested=True)
    fit.fit(rows, labels, right, reference if apart else None)
    assert (rows.reads[1:] == (1 if apart else 2)).all()  # by the solver, and for mean and deviations
    assert (reference.reads[1:] == apart).all()
    assert max(rows.reads[0], reference.reads[0]) <= 3  # from which deviations are taken
    before = rows.reads.copy()
    fit.fitted.decisions(rows, np.stack([labels, labels], axis=1), [0, 0])
    assert (rows.reads - before == 1).all()


def test_a_look_reads_the_classes_that_are_undecided_once_more() -> None:
    x, labels, right = data(classes=4, n=24)
    right[labels == 3] = np.random.default_rng(2).random((labels == 3).sum()) < 0.5
    rows = CountedRows(x)
    fit = FailureDirections(n_permutations=10, stop_after=5, fdr=0.02).fit(rows, labels, right, CountedRows(x))
    looks = rows.reads - 1
    assert (looks[fit.n_permutations_.numpy()[labels] <= 10] == 0).all()
    assert looks.max() > 0
    for k in range(4):
        assert len(set(looks[labels == k])) == 1


@pytest.mark.parametrize("size", [13, 40, 1000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_near_duplicates_of_rows_are_those_of_their_tensor(size: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(np.repeat(rng.normal(size=(60, D)), 2, axis=0) + 0.01 * rng.normal(size=(120, D))).to(dtype)
    labels = np.repeat([4, 2, 2], 40)[rng.permutation(120)]
    plain = near_duplicates(x, labels)
    assert 40 < len(np.unique(plain)) < 110
    with blocks_of(size):
        rows = CountedRows(x)
        np.testing.assert_array_equal(near_duplicates(rows, labels), plain)
        assert rows.most <= size
    if size == 1000:
        assert rows.reads[1:].max() == 1


def test_what_is_held_of_rows_does_not_grow_with_them() -> None:
    x, labels, right = data(classes=1)
    peaks = []
    with blocks_of(16):
        fit = FailureDirections(whiten=True).fit(x, labels, right)
        for n in (100, 800):
            rows = CountedRows(torch.from_numpy(np.random.default_rng(0).normal(size=(n, D)).astype(np.float32)))
            with LiveBytes() as fitting:
                FailureDirections(Cs=(0.1,)).fit(CountedRows(x), labels, right, rows)
            with LiveBytes() as deciding:
                fit.fitted.decisions(rows, np.zeros(n, int), [0])
            peaks.append((fitting.peak, deciding.peak - 8 * n))
    assert peaks[0] == peaks[1]


def test_rows_that_are_not_known_to_be_finite_are_looked_at() -> None:
    x, labels, right = data()
    x[50, 3], x[60] = torch.nan, torch.inf
    with blocks_of(8):
        for embeddings in (x, TensorRows(x), CountedRows(x, finite=False)):
            with pytest.raises(
                InputError, match="embeddings holds NaN or infinity in 2 of 93 rows, the first is row 50"
            ):
                FailureDirections().fit(embeddings, labels, right)


def test_rows_of_other_vectors_are_refused() -> None:
    x, labels, right = data()
    fit = FailureDirections(Cs=(0.1,)).fit(x, labels, right)
    with pytest.raises(InputError, match="embeddings has 5 columns, expected 12"):
        fit.decision_function(as_rows(x[:, :5], "x"), labels)


def test_as_much_as_the_rows_is_not_made_of_them() -> None:
    x, labels, right = data()
    fit = FailureDirections(Cs=(0.1,)).fit(x, labels, right)
    with pytest.raises(InputError, match=r"pass one of embeddings.blocks\(size\) at a time"):
        fit.transform(CountedRows(x))
