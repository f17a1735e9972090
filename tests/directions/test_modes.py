from __future__ import annotations

import numpy as np
import pytest

from fdgpu import FailureDirections
from fdgpu.directions.modes import _aligned, _is_a_meeting, _side_p_value
from tests.directions.planting import PlantedModes, plant_modes


def fitted(planted: PlantedModes, **settings: object) -> FailureDirections:
    settings = {"n_directions": 3, "n_permutations": 99} | settings
    return FailureDirections(**settings).fit(planted.x, np.zeros(len(planted.x), int), planted.right)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_modes_are_found_as_were_planted(count: int) -> None:
    planted = plant_modes(600, 48, [0.45 / count] * count, seed=count)
    fit = fitted(planted)
    assert fit.n_directions_.tolist() == [count]
    cosines = np.abs(fit.directions_[0, :count] @ planted.directions.T)
    assert (cosines.max(axis=0) > 0.9).all()
    assert (np.sort(cosines.argmax(axis=0)) == np.arange(count)).all()
    values = [fit.decision_function(planted.x, np.zeros(600, int), direction=j) for j in range(count)]
    for mode, j in enumerate(cosines.argmax(axis=0)):
        assert planted.member[mode][np.argsort(values[j])[:30]].mean() > 0.9
    assert fit.n_errors_of_[0, :count].sum() == fit.n_errors_[0]
    assert (np.diff(fit.n_errors_of_[0, :count] * (2 * fit.cv_score_[0, :count] - 1)) <= 0).all()
    assert (np.diff(fit.p_value_[0, :count]) >= 0).all()
    assert np.isnan(fit.coef_[0, count:]).all()
    assert np.isnan(fit.p_value_[0, count:]).all()
    assert not fit.significant_[0, count:].any()


def test_modes_of_unequal_size_that_overlap_are_kept_apart() -> None:
    planted = plant_modes(800, 48, [0.3, 0.15], overlap=0.5, seed=0)
    fit = fitted(planted)
    assert fit.n_directions_.tolist() == [2]
    assert (np.abs(fit.directions_[0, :2] @ planted.directions.T).max(axis=0) > 0.9).all()


def test_one_mode_keeps_the_papers_svm() -> None:
    planted = plant_modes(500, 32, [0.3], seed=3)
    one, three = fitted(planted, n_directions=1), fitted(planted)
    assert three.n_directions_.tolist() == [1]
    assert np.array_equal(one.coef_[0, 0], three.coef_[0, 0])
    assert one.p_value_[0, 0] == three.p_value_[0, 0]


def test_where_nothing_fails_together_no_second_mode_is_found() -> None:
    counts = []
    for seed in range(8):
        planted = plant_modes(240, 24, [], seed=seed)
        counts += fitted(planted, n_permutations=0).n_directions_.tolist()
    assert sum(counts) <= 9


def test_without_permutations_modes_are_kept_and_p_values_are_not_invented() -> None:
    planted = plant_modes(600, 48, [0.22, 0.22], seed=5)
    fit = fitted(planted, n_permutations=0)
    assert fit.n_directions_.tolist() == [2]
    assert np.isnan(fit.p_value_).all()
    assert not fit.significant_.any()


def test_classes_with_and_without_modes_go_together() -> None:
    parts = [plant_modes(500, 32, shares, seed=k) for k, shares in enumerate(([0.22, 0.22], [0.35], []))]
    x, right = np.concatenate([p.x for p in parts]), np.concatenate([p.right for p in parts])
    labels = np.repeat([3, 4, 7, 8], [500, 500, 500, 20])
    x, right = np.concatenate([x, x[:20]]), np.concatenate([right, np.arange(20) % 2 == 0])
    fit = FailureDirections(n_directions=2, n_permutations=59).fit(x, labels, right)
    assert fit.n_directions_.tolist() == [2, 1, 1, 1]
    assert fit.significant_[:2, 0].all()
    assert not fit.significant_[2, 0]
    alone = FailureDirections(n_directions=2, n_permutations=59, whiten=False)
    alone.fit(parts[0].x, np.zeros(500, int), parts[0].right)
    assert alone.n_directions_.tolist() == [2]


def test_predict_needs_every_direction_to_agree() -> None:
    planted = plant_modes(600, 48, [0.22, 0.22], seed=5)
    fit, ids = fitted(planted), np.zeros(600, int)
    both = np.minimum(*(fit.decision_function(planted.x, ids, direction=j) for j in range(2)))
    assert np.array_equal(fit.predict(planted.x, ids), both > 0)
    assert np.isnan(fit.decision_function(planted.x, ids, direction=2)).all()


def test_modes_of_two_folds_are_matched() -> None:
    flags = np.random.default_rng(0).normal(size=(3, 50))
    assert np.array_equal(_aligned(flags[[2, 0, 1]], flags), flags)


def test_a_side_without_signal_has_a_uniform_p_value() -> None:
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right, axis = rng.random(120) < 0.7, rng.normal(size=120)
        p.append(_side_p_value([axis, axis], right, np.arange(120) % 2, 39, rng))
    assert abs(np.mean(np.array(p) <= 0.25) - 0.25) < 0.1


def test_a_third_mode_where_two_meet_is_seen() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(400) < 0.4, rng.random(400) < 0.4
    right = ~(a | b)
    flags = -np.stack([a, b, 0.7 * (a & b) + 0.5 * (a | b)]) * 1.0
    flags[2] = np.where(a & b, -1.5, -0.1)
    held = np.arange(400) % 2 == 0
    assert _is_a_meeting(flags, right, held)
    assert not _is_a_meeting(flags[:2], right, held)
