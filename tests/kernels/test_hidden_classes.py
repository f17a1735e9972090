"""Hidden classes: the batch against its plain twin, laws, and worlds of which the answer is known."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fdgpu.kernels import hidden_classes, hidden_classes_numba
from fdgpu.kernels.hidden_classes import (
    FULL,
    Mixtures,
    fit,
    fit_on_device,
    fit_reference,
    left_out,
    loss_of,
    nats,
    search,
    smoother_of,
    space_of,
)

SHRINKAGES = (100.0, 3.0, 0.3)


def world(n: int, d: int, share: float, separation: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw vectors, margins, and who is in the hidden class."""
    rng = np.random.default_rng(seed)
    inside = rng.permutation(n) < round(share * n)
    x = rng.normal(size=(n, d))
    x[:, 0] += separation * inside
    return x @ rng.normal(size=(d, d)), np.clip(rng.normal(3 - 4 * inside, 2), -8, 8), inside


def batch(*classes: np.ndarray, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay classes (n, …) out as (K, width, …), and which samples are there."""
    rows = torch.zeros(len(classes), width, *classes[0].shape[1:], dtype=torch.float64)
    there = torch.zeros(len(classes), width, dtype=torch.float64)
    for k, one in enumerate(classes):
        rows[k, : len(one)], there[k, : len(one)] = torch.from_numpy(one), 1
    return rows, there


def searched(rows: torch.Tensor, there: torch.Tensor, margin: torch.Tensor) -> tuple[Mixtures, torch.Tensor]:
    """Search in classes that :func:`batch` laid out."""
    space = space_of(rows, there)
    return search(space, smoother_of(space, SHRINKAGES), margin)


@pytest.mark.parametrize(("n", "d"), [(24, 6), (20, 40), (30, 30)])
def test_a_batch_is_its_plain_twin(n: int, d: int) -> None:
    x, margin, _ = world(n, d, 0.3, 4, seed=n)
    other = world(n + 5, d, 0.2, 3, seed=n + 1)
    rows, there = batch(x, other[0], width=n + 7)
    margins, _ = batch(margin, other[1], width=n + 7)
    space = space_of(rows, there)
    first = torch.rand(2, 1, 3, 2, n + 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    first = (0.1 + 0.8 * first) * there[:, None, None, None]
    most = torch.tensor([1.0, 0.15], dtype=torch.float64).expand(2, 1, 3, 2)
    found = fit(space, smoother_of(space, SHRINKAGES), margins[:, None], first, most, 4)
    for at, shrinkage in enumerate(SHRINKAGES):
        for start in range(2):
            begun = first[0, 0, at, start, :n].numpy()
            expected = fit_reference(x, margin, shrinkage, begun, float(most[0, 0, at, start]), 4)
            for name, value in expected.items():
                got = getattr(found, name)[0, 0, at, start]
                got = got[:n] if value.ndim else got
                assert np.allclose(got.numpy(), value, rtol=1e-6, atol=1e-9), name
    assert (found.failing[0, 0, :, :, n:] == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 40), st.integers(1, 50), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_on_a_cpu_it_is_what_a_device_does(n: int, d: int, labellings: int, is_given: bool, seed: int) -> None:
    x, margin, _ = world(n, d, 0.3, 4, seed)
    other = world(n + 9, d, 0.2, 3, seed + 1)[0]
    space = space_of(*batch(x, other, width=n + 9))
    smoother = smoother_of(space, SHRINKAGES)
    draw = torch.Generator().manual_seed(seed)
    there = space.there[:, None, None, None]
    margins = torch.randn(2, labellings, n + 9, generator=draw, dtype=torch.float64) * 2 + float(margin.mean())
    first = (0.1 + 0.8 * torch.rand(2, labellings, 3, 4, n + 9, generator=draw, dtype=torch.float64)) * there
    given = torch.randn(first.shape, generator=draw, dtype=torch.float64) * there if is_given else None
    most = torch.rand(first.shape[:-1], generator=draw, dtype=torch.float64)
    matrices = smoother.matrix, smoother.leverage, space.there.sum(1).long()
    ours = hidden_classes_numba.fit(*matrices, margins, first, most * space.n[:, None, None, None], 5, given)
    for got, expected in zip(ours, fit_on_device(space, smoother, margins, first, most, 5, given), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 60), st.floats(0.02, 1), st.floats(-30, 30), st.floats(0.1, 20), st.integers(0, 2**31))
def test_a_hidden_class_holds_no_more_than_it_may(n: int, most: float, middle: float, wide: float, seed: int) -> None:
    odds = middle + wide * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    held = hidden_classes._held_back(odds, torch.ones(n, dtype=torch.float64), torch.tensor(most * n).double())
    if odds.sigmoid().sum() <= most * n:
        assert torch.equal(held, odds.sigmoid())
    else:
        assert held.sum() <= most * n * (1 + 1e-9)
        assert (held.argsort() == odds.argsort()).all() or held.unique().numel() < n


@settings(max_examples=40, deadline=None)
@given(st.integers(6, 30), st.integers(1, 40), st.floats(0.1, 1000), st.integers(0, 2**31))
def test_a_sample_left_out_is_predicted_by_the_others(n: int, d: int, shrinkage: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.normal(size=n)
    rows, there = batch(x, width=n)
    space = space_of(rows, there)
    predicted = left_out(space, smoother_of(space, (shrinkage,)), torch.from_numpy(y)[None, None, None, None])
    ridge = shrinkage * ((x - x.mean(axis=0)) ** 2).sum() / d
    expected = [hidden_classes._predicted_by_others(x, y, i, ridge) for i in range(n)]
    assert np.allclose(predicted[0, 0, 0, 0].numpy(), expected, rtol=1e-5, atol=1e-7)


def test_vectors_that_are_all_alike_foretell_nothing() -> None:
    rows, there = batch(np.ones((9, 4)), width=11)
    space = space_of(rows, there)
    target = torch.linspace(-3, 5, 11, dtype=torch.float64) * there
    predicted = left_out(space, smoother_of(space, SHRINKAGES), target[:, None, None, None].expand(1, 1, 3, 1, 11))
    assert predicted.abs().max() < 1e-12  # the mean of the others is less where the own target is more


def test_many_do_not_draw_a_hidden_class_away_from_a_few() -> None:
    x, _, inside = world(3000, 60, 0.02, 3, seed=2)
    along = x @ np.linalg.lstsq(x, np.random.default_rng(1).normal(size=3000), rcond=None)[0]
    easy = np.where(inside, -0.5, 1.5 - 0.6 * along / along.std())  # of all others, the model does worse on a half
    margin = np.random.default_rng(3).normal(easy, 2).clip(-8, 8)
    rows, there = batch(x, width=3000)
    space, few = space_of(rows, there), torch.from_numpy(inside)
    first = torch.where(few, 0.9, 0.02).double()[None, None, None, None].expand(1, 1, 1, 2, -1)
    most = torch.tensor([0.04, 1.0], dtype=torch.float64).expand(1, 1, 1, 2)
    found = fit(space, smoother_of(space, (0.3,)), torch.from_numpy(margin)[None, None], first, most, 42)
    held, drawn = (roc_auc_score(inside, one.numpy()) for one in found.predicted[0, 0, 0])
    assert held > 0.88
    assert drawn < 0.84
    assert float(found.share[0, 0, 0, 0]) <= 0.04 + 1e-9
    assert found.share[0, 0, 0, 1] > 0.06
    assert found.most[0, 0, 0].tolist() == [0.04, 1.0]


def test_what_is_found_does_not_depend_on_how_samples_are_padded_or_on_labellings_beside() -> None:
    x, margin, _ = world(60, 8, 0.2, 5, seed=3)
    other = np.random.default_rng(0).permutation(margin)
    (rows, there), (wide, some) = batch(x, width=60), batch(x, width=75)
    alone = searched(rows, there, torch.from_numpy(margin)[None, None])[0]
    padded = torch.zeros(1, 2, 75, dtype=torch.float64)
    padded[0, 0, :60], padded[0, 1, :60] = torch.from_numpy(margin), torch.from_numpy(other)
    both = searched(wide, some, padded)[0]
    for one in fields(alone):
        got, expected = getattr(both, one.name)[:, :1], getattr(alone, one.name)
        got = got[..., :60] if one.name in ("failing", "dual", "predicted") else got
        assert torch.allclose(got, expected, rtol=1e-6, atol=1e-9), one.name


@pytest.mark.parametrize(("share", "separation"), [(0.02, 6), (0.1, 5), (0.5, 5)])
def test_the_hidden_class_is_found_by_the_vectors(share: float, separation: float) -> None:
    x, margin, inside = world(1500, 12, share, separation, seed=5)
    rows, there = batch(x, width=1500)
    found, gain = searched(rows, there, torch.from_numpy(margin)[None, None])
    best = found.taken(gain.argmax(-1), 2)
    hardest = np.argsort(-best.predicted[0, 0].numpy())[: inside.sum()]
    assert inside[hardest].mean() >= 0.9
    assert float(best.share) == pytest.approx(share, abs=0.03)
    assert (best.slope > 0).all()  # the model does worse inside


def test_margins_that_vectors_do_not_know_are_foretold_by_no_nats_held_out() -> None:
    rng = np.random.default_rng(1)
    x, margin = rng.normal(size=(400, 10)), rng.normal(size=400)
    rows, there = batch(x, width=400)
    space, t = space_of(rows, there), torch.from_numpy(margin)[None, None]
    found, _ = searched(rows, there, t)
    fresh = torch.from_numpy(rng.normal(size=(400, 10)))
    along = found.dual @ ((fresh - space.mean) @ space.x[0].T).T
    again = torch.from_numpy(rng.normal(size=400))
    assert found.gain(along, again[None, None, None]).sum(-1).max() < 5
    assert nats(space, t, found).shape == (1, 1, FULL.candidates(3))


@settings(max_examples=50, deadline=None)
@given(st.floats(-8, 8))
def test_the_loss_of_a_margin(margin: float) -> None:
    p = 1 / (1 + np.exp(-margin))
    assert float(loss_of(torch.tensor(margin, dtype=torch.float64))) == pytest.approx(-np.log(p), abs=1e-12)
