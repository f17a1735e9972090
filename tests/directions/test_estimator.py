from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.errors import FdgpuWarning, InputError
from tests.conftest import make_class

D = 24


def three_classes(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Shuffled rows of classes 2, 5 and 9, each with a planted direction."""
    parts = [make_class(120, D, 0.3, 3.0, seed + k) for k in range(3)]
    order = np.random.default_rng(seed).permutation(360)
    x = np.concatenate([p.x for p in parts])[order]
    labels = np.repeat([2, 5, 9], 120)[order]
    right = np.concatenate([p.right for p in parts])[order]
    return x, labels, right, [p.direction for p in parts]


@pytest.fixture(scope="module")
def fitted() -> FailureDirections:
    x, labels, right, _ = three_classes()
    return FailureDirections(whiten=False).fit(x, labels, right)


def test_each_class_finds_its_own_planted_direction(fitted: FailureDirections) -> None:
    _, _, _, planted = three_classes()
    assert fitted.classes_.tolist() == [2, 5, 9]
    assert fitted.status_ == ["ok"] * 3
    cosines = [float(w @ u) for w, u in zip(fitted.directions_[:, 0], planted, strict=True)]
    assert min(cosines) > 0.8
    assert (fitted.cv_score_ > 0.9).all()


def test_shapes_and_defaults_of_the_results(fitted: FailureDirections) -> None:
    assert fitted.coef_.shape == (3, 1, D)
    for name in ("intercept_", "C_", "cv_score_", "p_value_", "q_value_", "significant_", "converged_", "C_at_edge_"):
        assert getattr(fitted, name).shape == (3, 1), name
    assert fitted.cv_scores_.shape == (3, 1, 7)
    assert np.isnan(fitted.p_value_).all()
    assert np.isnan(fitted.q_value_).all()
    assert not fitted.significant_.any()
    assert np.allclose(np.linalg.norm(fitted.directions_, axis=-1), 1, atol=1e-6)
    assert (fitted.cv_score_[:, 0] == fitted.cv_scores_[:, 0].max(axis=1)).all()
    assert fitted.backend_ == "numba"
    assert "core" in fitted.backend_reason_


def test_decisions_are_w_x_plus_b_of_the_rows_own_class(fitted: FailureDirections) -> None:
    x, labels, right, _ = three_classes(seed=50)
    values = fitted.decision_function(x, labels)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    index = {2: 0, 5: 1, 9: 2}
    expected = [unit[i] @ fitted.coef_[index[c], 0] + fitted.intercept_[index[c], 0] for i, c in enumerate(labels)]
    assert np.allclose(values, expected, atol=1e-5 * np.abs(values).max())
    assert (fitted.predict(x, labels) == (values > 0)).all()
    assert right.shape == values.shape


def test_whitening_uses_the_reference_and_transform_shows_it() -> None:
    x, labels, right, _ = three_classes()
    reference = np.random.default_rng(1).normal(1, 2, size=(80, D))
    fit = FailureDirections().fit(x, labels, right, reference)
    expected = (x - reference.mean(0)) / reference.std(0, ddof=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(fit.transform(x), expected, atol=1e-5)


def test_every_status_is_given_and_nothing_crashes() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    labels = np.repeat([0, 1, 2, 3, 4], 10)
    right = np.ones(50, bool)
    right[10:20] = False  # class 1: all errors
    right[20] = False  # class 2: one error
    right[31:40] = False  # class 3: one right
    right[40:45] = False  # class 4: enough
    fit = FailureDirections().fit(x, labels, right)
    assert fit.status_ == ["no_errors", "all_errors", "too_few_errors", "too_few_correct", "ok"]
    assert np.isnan(fit.coef_[:4]).all()
    assert np.isnan(fit.decision_function(x[:40], labels[:40])).all()
    assert np.isfinite(fit.decision_function(x[40:], labels[40:])).all()
    assert fit.predict(x, labels)[:40].tolist() == [True] * 10 + [False] * 10 + [True] * 10 + [False] * 10
    assert fit.n_errors_.tolist() == [0, 10, 1, 9, 5]


def test_a_set_without_any_direction_is_a_result_too() -> None:
    fit = FailureDirections().fit(np.random.default_rng(0).normal(size=(6, 3)), np.zeros(6, int), np.ones(6, bool))
    assert fit.status_ == ["no_errors"]
    assert np.isnan(fit.cv_score_).all()


def test_a_class_that_the_fit_has_not_seen() -> None:
    x, labels, right, _ = three_classes()
    fit = FailureDirections().fit(x, labels, right)
    assert np.isnan(fit.decision_function(x[:3], np.array([0, 7, 100]))).all()
    with pytest.raises(InputError, match=r"\[7\], which fit has not seen"):
        fit.predict(x[:1], np.array([7]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype: torch.dtype) -> None:
    x, labels, right, _ = three_classes()
    tensor = torch.from_numpy(x).to(dtype)
    fit = FailureDirections(whiten=False).fit(tensor, torch.from_numpy(labels), torch.from_numpy(right))
    for value in (fit.coef_, fit.C_, fit.cv_score_, fit.classes_, fit.transform(tensor)):
        assert isinstance(value, torch.Tensor)
    values = fit.decision_function(tensor, torch.from_numpy(labels))
    plain = FailureDirections(whiten=False).fit(tensor.float().numpy(), labels, right)
    assert np.allclose(values.numpy(), plain.decision_function(tensor.float().numpy(), labels))


def test_a_stranger_that_speaks_the_array_protocol() -> None:
    x, labels, right, _ = three_classes()

    class Foreign:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return self.array

    fit = FailureDirections().fit(Foreign(x), Foreign(labels), Foreign(right))
    assert (fit.C_ == FailureDirections().fit(x, labels, right).C_).all()


def test_the_same_seed_gives_the_same_answer_in_any_order_of_the_classes() -> None:
    x, labels, right, _ = three_classes()
    one = FailureDirections().fit(x, labels, right)
    other = FailureDirections().fit(x, labels, right)
    assert np.array_equal(one.coef_, other.coef_)
    only = FailureDirections(whiten=False).fit(x[labels == 5], labels[labels == 5], right[labels == 5])
    assert np.allclose(only.coef_[0], FailureDirections(whiten=False).fit(x, labels, right).coef_[1], atol=1e-6)


def test_captions_are_scored_by_their_whitened_difference() -> None:
    x, labels, right, _ = three_classes()
    fit = FailureDirections().fit(x * np.linspace(0.5, 2, D), labels, right)
    rng = np.random.default_rng(3)
    captions, reference = rng.normal(size=(7, D)), rng.normal(size=D)
    captions[4] = reference
    scale = (x * np.linspace(0.5, 2, D)).std(0, ddof=1)
    d = (captions - reference) / scale
    with np.errstate(invalid="ignore"):
        expected = (d / np.linalg.norm(d, axis=1, keepdims=True)) @ fit.coef_[1, 0]
    scores = fit.score_captions(captions, reference, class_id=5)
    assert np.isnan(scores[4])
    keep = np.arange(7) != 4
    assert np.allclose(scores[keep], expected[keep], rtol=1e-4)
    with pytest.raises(InputError, match="reference has 2 rows"):
        fit.score_captions(captions, captions[:2], class_id=5)
    with pytest.raises(InputError, match="direction is 1"):
        fit.score_captions(captions, reference, class_id=5, direction=1)
    with pytest.raises(InputError, match="class_id is 3"):
        fit.score_captions(captions, reference, class_id=3)


def test_a_problem_that_hits_its_bound_warns_and_is_marked() -> None:
    x, labels, right, _ = three_classes()
    with pytest.warns(FdgpuWarning, match="raise max_iter"):
        fit = FailureDirections(Cs=[100.0], max_iter=3).fit(x, labels, right)
    assert not fit.converged_.any()


def test_the_edge_of_the_grid_is_marked() -> None:
    x, labels, right, _ = three_classes()
    assert FailureDirections(Cs=[1e-2, 1e-1]).fit(x, labels, right).C_at_edge_.all()
    assert not FailureDirections(Cs=[1e-2]).fit(x, labels, right).C_at_edge_.any()


BAD = [
    ("NaN or infinity in 1 of 360 rows, the first is row 17", lambda x, y, c: (_with_nan(x), y, c)),
    ("labels has 359 entries, embeddings has 360 rows: pass one label a row", lambda x, y, c: (x, y[1:], c)),
    ("correct has 361 entries", lambda x, y, c: (x, y, np.append(c, True))),
    ("labels is of type float64", lambda x, y, c: (x, y / 2, c)),
    ("correct holds -1", lambda x, y, c: (x, y, np.where(c, 1, -1))),
    ("pass one row per image", lambda x, y, c: (x[0], y, c)),
    ("nothing to fit", lambda x, y, c: (x[:0], y[:0], c[:0])),
    ("not numeric|floating-point", lambda _, y, c: ([["a"]], y, c)),
    ("rectangular", lambda _, y, c: ([[1.0], [1.0, 2.0]], y, c)),
]


def _with_nan(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[17, 3] = np.nan
    return x


@pytest.mark.parametrize(("message", "spoil"), BAD)
def test_bad_input_is_named(message: str, spoil) -> None:
    x, labels, right, _ = three_classes()
    with pytest.raises(InputError, match=message):
        FailureDirections().fit(*spoil(x, labels, right))


def test_a_bad_reference_is_named() -> None:
    x, labels, right, _ = three_classes()
    with pytest.raises(InputError, match="reference has 3 columns, expected 24"):
        FailureDirections().fit(x, labels, right, np.ones((5, 3)))
    with pytest.raises(InputError, match="reference has 1 row"):
        FailureDirections().fit(x, labels, right, x[:1])
    FailureDirections(whiten=False).fit(x, labels, right, x[:1])


def test_a_tight_tolerance_is_met_in_float64() -> None:
    x, labels, right, _ = three_classes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = FailureDirections(tol=1e-9).fit(x.astype(np.float64), labels, right)
    assert fit.converged_.all()


def test_many_classes_go_through_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    from fdgpu.directions import numba_backend

    x, labels, right, _ = three_classes()
    whole = FailureDirections().fit(x, labels, right)
    monkeypatch.setattr(numba_backend, "BATCH_BYTES", 6 * np.bincount(labels).max() ** 2)  # the largest fits alone
    one_by_one = FailureDirections().fit(x, labels, right)
    assert set(one_by_one.solver_) == {"gram"}
    assert np.array_equal(one_by_one.coef_, whole.coef_)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_auto_takes_the_device_and_says_why() -> None:
    data = make_class(80, 16, 0.3, 2.0, 0)
    fit = FailureDirections().fit(torch.from_numpy(data.x).cuda(), torch.zeros(80, dtype=torch.long), data.right)
    assert fit.backend_ == "triton"
    assert fit.coef_.device.type == "cuda"
    assert "auto" in fit.backend_reason_
