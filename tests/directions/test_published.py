"""``published=True`` against the published code's loop, written out with scikit-learn: equal number by number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.metrics import balanced_accuracy_score, make_scorer
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from fdgpu import FailureDirections, SolverSettings
from fdgpu.directions import numba_backend
from fdgpu.errors import BackendError, InputError
from tests.conftest import make_class


def best_of_the_grid(x: np.ndarray, right: np.ndarray) -> tuple[list[float], SVC]:
    """The scores of every C, and the fit of the first that is better than all before it."""
    scorer, scores, best = make_scorer(balanced_accuracy_score), [], (-np.inf, None)
    for cost in np.logspace(-6, 0, 7, endpoint=True):
        svc = SVC(gamma="auto", kernel="linear", C=cost, class_weight="balanced")
        scores.append(np.mean(cross_val_score(svc, x, right.astype(int), cv=2, scoring=scorer)))
        if scores[-1] > best[0]:
            best = (scores[-1], svc.fit(x, right.astype(int)))
    return scores, best[1]


def loop_over_classes(
    embeddings: np.ndarray, labels: np.ndarray, right: np.ndarray, fit: FailureDirections
) -> list[tuple[list[float], SVC]]:
    """Whiten by all of them, make unit vectors, and fit each class; statistics in float32, as that code has them."""
    vectors = torch.from_numpy(embeddings)
    x = (vectors - vectors.mean(dim=0)) / (vectors - vectors.mean(dim=0)).std(dim=0)
    x = (x / torch.linalg.norm(x, dim=1, keepdims=True)).numpy()
    ours = fit.transform(embeddings)
    assert np.abs(x - ours).max() < 1e-5
    return [best_of_the_grid(ours[labels == k], right[labels == k]) for k in fit.classes_]


@settings(max_examples=8)
@given(
    st.sampled_from([(24, 60), (60, 8), (130, 40), (90, 300)]),
    st.sampled_from([0.04, 0.1, 0.3, 0.5, 0.8]),
    st.floats(0, 1.5),
    st.integers(0, 10_000),
)
def test_scores_choice_and_decisions_are_scikit_learns(
    size: tuple[int, int], errors: float, separation: float, seed: int
) -> None:
    n, d = size
    classes = [make_class(n, d, max(errors, 2.1 / n), separation, seed + k) for k in range(2)]
    x, right = np.concatenate([one.x for one in classes]), np.concatenate([one.right for one in classes])
    labels = np.repeat([0, 1], n)
    fit = FailureDirections(published=True).fit(x, labels, right)
    for k, (scores, svc) in enumerate(loop_over_classes(x, labels, right, fit)):
        own = labels == k
        assert fit.cv_scores_[k, 0].tolist() == scores
        assert (fit.C_[k, 0], fit.cv_score_[k, 0]) == (svc.C, max(scores))
        assert np.abs(fit.coef_[k, 0] - svc.coef_[0]).max() <= 1e-6 * np.linalg.norm(svc.coef_[0])
        assert fit.intercept_[k, 0] == pytest.approx(svc.intercept_[0], rel=1e-9, abs=1e-12)
        expected = svc.decision_function(fit.transform(x[own]))
        assert fit.decision_function(x[own], labels[own]) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        captions = np.random.default_rng(seed).normal(size=(5, d)).astype(np.float32)
        _check_captions(fit, svc, k, captions)


def _check_captions(fit: FailureDirections, svc: SVC, k: int, captions: np.ndarray) -> None:
    """A difference of captions goes through the images' whitening, as an image does, and so does the reference."""
    reference = captions[0]
    whitened = (captions - reference - fit.whitening_.mean) / fit.whitening_.scale
    unit = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
    expected = svc.decision_function(unit)
    assert fit.score_captions(captions, reference, k) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.allclose(fit.caption_directions(captions, reference), unit, atol=1e-6)


def test_the_switch_changes_the_choice_where_every_alpha_is_at_its_bound() -> None:
    """The known difference: libsvm's b lands on an end of its interval, and all small C score one half."""
    changed = 0
    for seed in range(10):
        data = make_class(101, 40, 0.3, 0.4, seed)
        ours, theirs = (
            FailureDirections(published=published).fit(data.x, np.zeros(101, int), data.right)
            for published in (False, True)
        )
        changed += ours.C_[0, 0] != theirs.C_[0, 0]
        assert (theirs.cv_scores_[0, 0, :3] == 0.5).any()
        assert not (ours.cv_scores_[0, 0, :3] == 0.5).all()
    assert changed >= 3


def test_permutations_modes_and_resamples_take_the_same_steps() -> None:
    """Each is one more labelling of the same solver: what is found is the same in every run, and holds together."""
    data = make_class(120, 16, 0.3, 1.0, seed=4)
    fit = FailureDirections(published=True, n_permutations=19, n_resamples=4, n_directions=2, nested=True)
    fit.fit(data.x, np.zeros(120, int), data.right)
    assert fit.p_value_[0, 0] == 1 / 20
    assert np.isfinite(fit.resampled_coef_[0, 0]).all()
    assert fit.nested_score_[0] > 0.6
    assert (fit.backend_, fit.converged_.all()) == ("numba", True)


def test_it_is_kept_in_the_file_and_a_file_from_before_is_not_published(tmp_path: Path) -> None:
    data = make_class(40, 8, 0.3, 1.0, seed=0)
    fit = FailureDirections(published=True).fit(data.x, np.zeros(40, int), data.right)
    path = tmp_path / "fit.safetensors"
    fit.save(path)
    again = FailureDirections.load(path)
    assert again.published
    args = data.x[:3], data.x[4], 0
    assert np.array_equal(again.score_captions(*args), fit.score_captions(*args))
    with safe_open(path, framework="numpy") as stored:
        header = stored.metadata()
    parameters = json.loads(header["parameters"])
    assert parameters.pop("published") is True
    save_file(load_file(path), path, metadata=header | {"parameters": json.dumps(parameters)})
    assert not FailureDirections.load(path).published


def test_cuml_which_takes_steps_of_its_own_is_refused() -> None:
    with pytest.raises(BackendError, match=r"published is True and backend is 'cuml'.*'numba' or 'triton'"):
        SolverSettings(published=True, backend="cuml")


def test_a_class_whose_gram_matrix_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_backend, "PUBLISHED_BYTES", 8 * 39**2)
    data = make_class(40, 8, 0.3, 1.0, seed=0)
    with pytest.raises(InputError, match=r"40 samples.*at most 39"):
        FailureDirections(published=True).fit(data.x, np.zeros(40, int), data.right)
