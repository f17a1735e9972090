from __future__ import annotations

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.directions.labellings import Layout, Stream, states_of
from fdgpu.directions.modes import _aligned, _is_a_meeting, _side_p_value
from fdgpu.kernels.draws import keys
from tests.directions.planting import PlantedModes, class_samples, plant_modes


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


def layout_of(right: np.ndarray) -> Layout:
    """One class, of which only right and wrong matters."""
    return Layout.of(class_samples(np.zeros((len(right), 1), np.float32), right), torch.device("cpu"))


def test_modes_of_two_folds_are_matched() -> None:
    flags = torch.randn((3, 50), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(_aligned(layout_of(np.ones(50, bool)), flags[[2, 0, 1]], flags), flags)


def test_a_side_without_signal_has_a_uniform_p_value() -> None:
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right, axis = rng.random(120) < 0.7, torch.from_numpy(rng.normal(size=120))
        folds = torch.arange(120) % 2
        p.append(float(_side_p_value(layout_of(right), axis, folds, 2, 39, (seed, 2, 0), [0])))
    assert abs(np.mean(np.array(p) <= 0.25) - 0.25) < 0.1


def test_a_side_is_tested_by_the_ranks_of_its_wrong_samples() -> None:
    """Read off the definition, fold by fold and class by class, with the same draws."""
    rng = np.random.default_rng(1)
    sizes, cv, permutations = [60, 45], 3, 29
    right, axis = rng.random(105) < 0.6, rng.normal(size=105)
    axis[:60] -= 1.0 * right[:60]
    folds = rng.integers(0, cv, 105)
    own = class_samples(np.zeros((105, 1), np.float32), right, sizes)
    layout = Layout.of(own, torch.device("cpu"))
    found = _side_p_value(layout, torch.from_numpy(axis), torch.from_numpy(folds), cv, permutations, (5, 2, 0), [0, 1])
    keyed = keys(layout.segments, states_of(layout, 5, Stream.SIDE, 2, 0)[None], 0, permutations)[0].numpy()
    for k, rows in enumerate((slice(0, 60), slice(60, 105))):
        observed, null = 0.0, np.zeros(permutations)
        for fold in range(cv):
            held = folds[rows] == fold
            side = held & (axis[rows] > np.median(axis[rows][held & right[rows]]))
            wrong = ~right[rows][side]
            ranks = np.argsort(np.argsort(axis[rows][side])).astype(float)
            standard = (ranks - ranks.mean()) / (ranks.std() * np.sqrt(len(ranks)))
            observed += standard[wrong].sum()
            drawn = np.argsort(np.argsort(keyed[:, rows][:, side], axis=1), axis=1) < wrong.sum()
            null += (drawn * standard).sum(axis=1)
        assert float(found[k]) == pytest.approx((1 + (null >= observed - 1e-9).sum()) / (1 + permutations))


def test_a_third_mode_where_two_meet_is_seen() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(400) < 0.4, rng.random(400) < 0.4
    flags = -np.stack([a, b, 0.7 * (a & b) + 0.5 * (a | b)]) * 1.0
    flags[2] = np.where(a & b, -1.5, -0.1)
    layout, held = layout_of(~(a | b)), torch.arange(400) % 2 == 0
    assert bool(_is_a_meeting(layout, torch.from_numpy(flags), held))
    assert not bool(_is_a_meeting(layout, torch.from_numpy(flags[:2]), held))
