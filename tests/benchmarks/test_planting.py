"""Planted settings: shares, correlations and scores as asked for, unit rows, and the same data every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from benchmarks.discovery.planting import FAMILIES, Geometry, Setting, plant, simulate_scores

SMALL = Geometry(d=48)


def setting(family: str, strength: float, samples: int = 4000) -> Setting:
    return Setting(family, strength, samples=samples, geometry=SMALL)


def both_halves(made: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Labels and slices of the scored half; shares hold exactly over both parts, nearly over one."""
    planted = plant(made)
    return planted.held_out.labels, planted.truth


@pytest.mark.parametrize("strength", [0.2, 0.8])
def test_attribute_and_label_correlate_as_asked(strength: float) -> None:
    labels, truth = both_halves(setting("correlation", strength, 20_000))
    disagree = truth.any(axis=1)
    assert truth.shape == (10_000, 2)
    assert not truth.all(axis=1).any()
    attribute = np.where(disagree, 1 - labels, labels)
    assert np.corrcoef(attribute, labels)[0, 1] == pytest.approx(strength, abs=0.03)
    assert (labels[truth[:, 0]] == 1).all()
    assert (labels[truth[:, 1]] == 0).all()


def test_rare_slice_has_its_share_and_label_1() -> None:
    labels, truth = both_halves(setting("rare", 0.03, 20_000))
    assert truth.mean() == pytest.approx(0.03, abs=0.005)
    assert (labels[truth[:, 0]] == 1).all()


def test_noisy_slice_has_its_rate_of_wrong_labels() -> None:
    labels, truth = both_halves(setting("noisy label", 0.3, 20_000))
    assert truth.mean() == pytest.approx(0.1, abs=0.01)
    assert (labels[truth[:, 0]] == 0).mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("label", "inside", "mean"), [(1, False, 0.75), (1, True, 0.4), (0, False, 0.25), (0, True, 0.6)]
)
def test_scores_have_the_means_and_the_spread_of_their_beta(label: int, inside: bool, mean: float) -> None:
    n = 20_000
    scores = simulate_scores(np.full(n, label), np.full(n, inside), np.random.default_rng(0))
    assert scores.mean() == pytest.approx(mean, abs=0.01)
    assert scores.var() == pytest.approx(mean * (1 - mean) / 2, abs=0.005)  # of Beta(a, 1 - a)
    assert 0 < scores.min() < scores.max() < 1


def test_planted_model_fails_inside_the_slice() -> None:
    planted = plant(setting("correlation", 0.4, 20_000))
    inside = planted.truth.any(axis=1)
    q = np.where(planted.held_out.labels == 1, planted.held_out.scores, 1 - planted.held_out.scores)
    assert q[inside].mean() == pytest.approx(0.4, abs=0.02)
    assert q[~inside].mean() == pytest.approx(0.75, abs=0.02)
    assert planted.held_out.losses == pytest.approx(-np.log(q))
    np.testing.assert_array_equal(planted.held_out.correct[q != 0.5], (q > 0.5)[q != 0.5])


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_unit_float32_and_halves_are_halves(family: str) -> None:
    planted = plant(setting(family, FAMILIES[family][2], 1001))
    assert planted.validation.x.shape == (500, 48)
    assert planted.held_out.x.shape == (501, 48)
    assert len(planted.truth) == 501
    for half in (planted.validation, planted.held_out):
        assert half.x.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(half.x, axis=1), 1, atol=1e-5)


def test_same_setting_same_data_and_another_seed_other_data() -> None:
    made = setting("rare", 0.05, 400)
    first, second, other = plant(made), plant(made), plant(replace(made, seed=1))
    np.testing.assert_array_equal(first.validation.x, second.validation.x)
    np.testing.assert_array_equal(first.held_out.scores, second.held_out.scores)
    assert not np.array_equal(first.validation.x, other.validation.x)


def test_separation_is_the_d_prime_that_an_ideal_probe_sees() -> None:
    """The attribute alone, without what else varies: AUC Phi(d' / sqrt 2), a little less since rows are normalised."""
    plain = Geometry(d=48, label=0.0, subclass=0.0, distractors=0)
    for separation, auc in ((2.5, 0.961), (1.0, 0.760), (0.0, 0.5)):
        planted = plant(Setting("correlation", 0.5, separation, samples=20_000, geometry=plain))
        attribute = planted.truth.any(axis=1) ^ (planted.held_out.labels == 1)
        half = len(attribute) // 2
        probe = LinearDiscriminantAnalysis().fit(planted.held_out.x[:half], attribute[:half])
        seen = roc_auc_score(attribute[half:], probe.decision_function(planted.held_out.x[half:]))
        assert seen == pytest.approx(auc, abs=0.03)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"family": "blur", "strength": 0.1}, "correlation, rare, noisy label"),
        ({"family": "rare", "strength": 1.5}, "strength is 1.5"),
        ({"family": "rare", "strength": 0.1, "samples": 10}, "samples is 10"),
        ({"family": "rare", "strength": 0.1, "separation": float("nan")}, "separation is nan"),
    ],
)
def test_impossible_settings_are_named(arguments: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Setting(**arguments)
