"""The latent method through the estimator: what it finds, what it listens to, and what it does with odd data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from fdgpu import FailureDirections
from fdgpu.directions.dealing import Hand, solver
from fdgpu.directions.distilling import distil
from fdgpu.directions.estimator import backend_named
from fdgpu.directions.fit import LATER
from fdgpu.directions.latent import evidence_of
from fdgpu.directions.parameters import LATENT_COSTS, PAPER_COSTS, SearchSettings, SolverSettings
from fdgpu.directions.samples import ClassSamples, margin_of, whitened
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import BackendError, InputError
from fdgpu.rows import TensorRows
from tests.counted_rows import CountedRows, read_in_blocks

D = 10
ONE = {"Cs": (1 / 3,)}  # one shrinkage takes a third of the time


class Planted:
    """A class of which ``share`` lies along axis 0, where the probability p of the true class is small."""

    def __init__(self, n: int = 200, share: float = 0.2, seed: int = 5, d: int = D, separation: float = 4.0) -> None:
        rng = np.random.default_rng(seed)
        self.member = rng.permutation(n) < round(share * n)
        self.p = np.where(self.member, rng.beta(1.0, 3.0, n), rng.beta(6.0, 1.0, n))
        self.x = rng.normal(size=(n, d)) + separation * self.member[:, None] * np.eye(d)[0]
        self.right = self.p > 0.5
        self.loss, self.labels = -np.log(self.p), np.zeros(n, int)

    def fit(self, loss: bool = True, **changes: Any) -> FailureDirections:
        made = FailureDirections(**{"method": "latent"} | changes)
        return made.fit(self.x, self.labels, self.right, loss=self.loss if loss else None)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted()


@pytest.fixture(scope="module")
def fitted(planted: Planted) -> FailureDirections:
    return planted.fit(n_permutations=39, n_resamples=5, nested=True)


@pytest.fixture(scope="module")
def three() -> tuple[np.ndarray, ...]:
    """Shuffled rows of classes 2, 5 and 9: x, labels, right, loss."""
    parts = [Planted(n, seed=n) for n in (120, 140, 160)]
    order = np.random.default_rng(0).permutation(420)
    labels = np.repeat([2, 5, 9], [120, 140, 160])[order]
    x, right, loss = (np.concatenate([getattr(one, name) for one in parts])[order] for name in ("x", "right", "loss"))
    return x, labels, right, loss


def assert_same(one: FailureDirections, other: FailureDirections, **tolerance: float) -> None:
    for name in (
        "classes",
        "coef",
        "intercept",
        "C",
        "cv_scores",
        "loss_weight",
        "loss_intercept",
        "share",
        "explained",
    ):
        left, right = (np.asarray(getattr(fit.fitted, name)) for fit in (one, other))
        np.testing.assert_allclose(left, right, err_msg=name, **({"rtol": 0, "atol": 0} | tolerance))


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_it_finds_the_hidden_class_and_how_much_it_explains(planted: Planted, fitted: FailureDirections) -> None:
    assert fitted.directions_[0, 0, 0] < -0.9  # from hard to easy
    value, low, high = fitted.explained_[0, 0]
    inside, outside = (~planted.right[planted.member]).mean(), (~planted.right[~planted.member]).mean()
    truth = planted.member.sum() * (inside - outside) / (~planted.right).sum()
    assert abs(value - truth) < 0.25  # what is held out is told less surely
    assert 0 <= low <= value <= high <= 1
    assert abs(fitted.share_[0, 0] - planted.member.mean()) < 0.05
    assert fitted.cv_score_[0, 0] > 0.8
    assert fitted.nested_score_[0] > 0.8
    assert (fitted.p_value_[0, 0], fitted.significant_[0, 0]) == (1 / 40, True)
    assert (fitted.solver_, fitted.backend_) == (["latent"], "torch")
    assert fitted.C_[0, 0] in LATENT_COSTS
    assert fitted.converged_.all()


def test_predict_says_who_is_in_it(planted: Planted, fitted: FailureDirections) -> None:
    flagged = ~fitted.predict(planted.x, planted.labels)
    assert (flagged == (fitted.decision_function(planted.x, planted.labels) <= 0)).all()
    assert (flagged == planted.member).mean() > 0.9


def test_the_own_loss_adds_its_margin_and_no_more(planted: Planted, fitted: FailureDirections) -> None:
    alone = fitted.decision_function(planted.x, planted.labels)
    knowing = fitted.decision_function(planted.x, planted.labels, loss=planted.loss)
    margin = np.log(planted.p / (1 - planted.p)).clip(-8, 8)
    expected = fitted.loss_weight_[0, 0] * margin + fitted.loss_intercept_[0, 0]
    np.testing.assert_allclose(knowing - alone, expected, atol=1e-6)
    assert fitted.loss_weight_[0, 0] > 0


def test_a_new_sample_of_unknown_loss_is_decided_by_its_vector(fitted: FailureDirections) -> None:
    other = Planted(seed=7)
    flagged = ~fitted.predict(other.x, other.labels)
    assert (flagged == other.member).mean() > 0.9


def test_right_and_wrong_alone_are_enough(planted: Planted) -> None:
    fit = planted.fit(loss=False)
    assert fit.directions_[0, 0, 0] < -0.9
    hardest = np.argsort(fit.decision_function(planted.x, planted.labels))[: planted.member.sum()]
    assert planted.member[hardest].mean() > 0.85


def test_where_there_is_no_failure_it_is_not_significant() -> None:
    one = Planted(separation=0.0)
    fit = one.fit(n_permutations=39, **ONE)
    assert fit.p_value_[0, 0] > 0.05
    assert np.isnan(fit.share_[0, 0])
    assert np.isfinite(fit.decision_function(one.x, one.labels, loss=one.loss)).all()


def test_evidence_is_what_exchanged_answers_do_not_have() -> None:
    excess, by_chance = evidence_of(torch.tensor([[[10.0, 5.0], [1.0, 4.0], [3.0, 2.0]]]))
    assert excess.tolist() == [[8.0, 2.0]]
    assert by_chance.tolist() == [2.0]


def test_a_rare_hidden_class_is_told_and_exchanged_answers_hold_none() -> None:
    rng, few = np.random.default_rng(0), Planted(n=2400, share=0.02, seed=1, d=120, separation=5.0)
    few.p = np.where(few.member, rng.beta(0.4, 0.6, 2400), rng.beta(0.75, 0.25, 2400)).clip(1e-9, 1 - 1e-9)
    few.right, few.loss = few.p > 0.5, -np.log(few.p)
    found = few.fit()
    hardest = np.argsort(found.decision_function(few.x, few.labels))[: few.member.sum()]
    assert few.member[hardest].mean() > 0.8
    assert 0.01 <= found.share_[0, 0] <= 0.04
    order = rng.permutation(2400)
    few.right, few.loss = few.right[order], few.loss[order]
    assert np.isnan(few.fit().share_[0, 0])


def test_resamples_have_their_shape_and_point_the_same_way(fitted: FailureDirections) -> None:
    assert fitted.resampled_coef_.shape == (1, 1, 5, D)
    along = torch.as_tensor(fitted.resampled_coef_)[0, 0].double().numpy()
    cosines = along @ fitted.directions_[0, 0] / np.linalg.norm(along, axis=1)
    assert cosines.min() > 0.7


def test_two_failures_are_two_modes() -> None:
    rng = np.random.default_rng(3)
    member = rng.random((2, 500)) < 0.15
    p = np.where(member.any(axis=0), rng.beta(1, 4, 500), rng.beta(8, 1, 500))
    x = rng.normal(size=(500, 6)) + 6 * member.T @ np.eye(6)[:2]
    fit = FailureDirections(method="latent", n_directions=3, **ONE)
    fit.fit(x, np.zeros(500, int), p > 0.5, loss=-np.log(p))
    kept = int(fit.n_directions_[0])
    found = np.abs(fit.directions_[0, :kept, :2])
    assert kept >= 1
    assert np.isnan(fit.coef_[0, kept:]).all()
    assert found.max(axis=0).min() > 0.5  # each axis belongs to a direction


# --- the same, whatever is beside it, and however it comes ------------------------------------------------------------


def test_a_seed_gives_the_same_answer(planted: Planted) -> None:
    assert_same(planted.fit(), planted.fit())


def test_a_class_does_not_depend_on_the_classes_beside_it(three: tuple[np.ndarray, ...]) -> None:
    x, labels, right, loss = three
    made = FailureDirections(method="latent", whiten=False, **ONE).fit(x, labels, right, loss=loss)
    first = labels == 2
    alone = FailureDirections(method="latent", whiten=False, **ONE)
    alone.fit(x[first], labels[first], right[first], loss=loss[first])
    scale = np.abs(made.coef_[0]).max()
    np.testing.assert_allclose(alone.coef_[0], made.coef_[0], atol=1e-5 * scale)
    np.testing.assert_allclose(alone.explained_[0], made.explained_[0], atol=1e-5)


def test_rows_in_parts_are_the_same(three: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, right, loss = three
    tensor = torch.from_numpy(x).float()
    plain = FailureDirections(method="latent", **ONE).fit(tensor, labels, right, loss=loss)
    read_in_blocks(monkeypatch, 17, D)
    rows = CountedRows(tensor)
    parts = FailureDirections(method="latent", **ONE).fit(rows, labels, right, loss=loss)
    assert_same(parts, plain)
    assert torch.equal(
        parts.decision_function(rows, labels, loss=loss), plain.decision_function(tensor, labels, loss=loss)
    )
    assert rows.most <= 17


def test_a_worker_of_a_cluster_is_sent_the_margins_and_finds_the_same(planted: Planted) -> None:
    embeddings, whitening = TensorRows(torch.from_numpy(planted.x)), Whitening.identity(D)
    rows = np.arange(200)
    classes = [
        ClassSamples(k, own, planted.right[own], embeddings, whitening, None, margin_of(planted.loss)[own])
        for k, own in enumerate((rows[:90], rows[90:]))
    ]
    hand = Hand.of(classes, lambda batch, progress: distil(batch, SearchSettings(), progress=progress))
    sent = hand.samples()
    assert torch.equal(
        whitened(sent, torch.float64, torch.device("cpu")), whitened(classes, torch.float64, torch.device("cpu"))
    )
    choice, (found,) = solver(SolverSettings(method="latent", **ONE), backend_named)(hand)
    assert choice.name == "torch"
    here = FailureDirections(method="latent", whiten=False, **ONE)
    here.fit(planted.x, (rows >= 90).astype(int), planted.right, loss=planted.loss)
    np.testing.assert_allclose(found.explanations[0].coef[0], here.coef_[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.explanations[0].loss_weight[0], here.loss_weight_[:, 0])


def test_several_labels_a_row_are_its_samples(three: tuple[np.ndarray, ...]) -> None:
    x, _, right, loss = three
    n = len(x)
    labels = np.stack([np.arange(n) % 2, np.where(np.arange(n) % 3, 2 + np.arange(n) % 2, -1)], axis=1)
    answers, losses = np.stack([right, right[::-1]], axis=1), np.stack([loss, loss[::-1]], axis=1)
    losses[labels < 0] = np.nan  # of no class: whatever stands there
    several = FailureDirections(method="latent", whiten=False, **ONE).fit(x, labels, answers, loss=losses)
    rows, columns = np.nonzero(labels >= 0)
    plain = FailureDirections(method="latent", whiten=False, **ONE)
    plain.fit(x[rows], labels[rows, columns], answers[rows, columns], loss=losses[rows, columns])
    assert_same(several, plain)
    values = several.decision_function(x, labels, loss=losses)
    expected = plain.decision_function(x[rows], labels[rows, columns], loss=losses[rows, columns])
    np.testing.assert_allclose(values[rows, columns], expected)
    assert np.isnan(values[labels < 0]).all()


def test_frames_of_one_object_are_no_evidence_where_their_groups_are_known() -> None:
    """Of 40 classes whose answers have nothing to do with the vectors: 16 objects each, in four frames."""
    rng = np.random.default_rng(0)
    objects = np.repeat(np.arange(640), 4)
    x = rng.normal(size=(640, 6))[objects] + 0.1 * rng.normal(size=(2560, 6))
    logit = 2 * rng.normal(size=640)[objects] + 0.2 * rng.normal(size=2560) + 1
    labels, right, loss = objects // 16, logit > 0, np.logaddexp(0, -logit)
    rejected = []
    for groups in (None, objects):
        fit = FailureDirections(method="latent", n_permutations=19, **ONE)
        fit.fit(x, labels, right, groups=groups, loss=loss)
        rejected.append((fit.p_value_[:, 0] <= 0.05).mean())
    assert rejected[1] <= 0.15 < 0.3 <= rejected[0]


def test_groups_of_one_are_none(planted: Planted) -> None:
    fit = FailureDirections(method="latent", **ONE)
    fit.fit(planted.x, planted.labels, planted.right, groups=np.arange(200), loss=planted.loss)
    assert_same(fit, planted.fit(**ONE))


def test_double_precision_by_tolerance(planted: Planted) -> None:
    single, double = planted.fit(**ONE), planted.fit(tol=1e-9, **ONE)
    assert double.solver_settings.dtype == torch.float64
    scale = np.abs(double.coef_).max()
    np.testing.assert_allclose(single.coef_, double.coef_, atol=0.02 * scale)
    np.testing.assert_allclose(single.explained_, double.explained_, atol=0.02)


@settings(max_examples=3)
@given(st.integers(0, 1000))
def test_the_axes_of_the_space_do_not_matter(seed: int) -> None:
    one = Planted(n=80, d=5, seed=1)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    made = {"method": "latent", "whiten": False, "tol": 1e-9, **ONE}
    plain, turned = (
        FailureDirections(**made).fit(x, one.labels, one.right, loss=one.loss) for x in (one.x, one.x @ turn)
    )
    values = plain.decision_function(one.x, one.labels)
    np.testing.assert_allclose(
        turned.decision_function(one.x @ turn, one.labels), values, atol=1e-3 * np.abs(values).max()
    )


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_saved_fit_comes_back_equal(planted: Planted, fitted: FailureDirections, tmp_path: Path) -> None:
    fitted.save(tmp_path / "fit.safetensors")
    loaded = FailureDirections.load(tmp_path / "fit.safetensors")
    assert_same(loaded, fitted)
    assert (loaded.solver_settings, loaded.search_settings) == (fitted.solver_settings, fitted.search_settings)
    np.testing.assert_array_equal(
        loaded.decision_function(planted.x, planted.labels, loss=planted.loss),
        fitted.decision_function(planted.x, planted.labels, loss=planted.loss),
    )


def test_a_file_from_before_there_was_a_second_method_is_one_of_the_svm(planted: Planted, tmp_path: Path) -> None:
    fit = FailureDirections(n_directions=2).fit(planted.x, planted.labels, planted.right)
    fit.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", framework="numpy") as stored:
        header = dict(stored.metadata())
        arrays = {name: stored.get_tensor(name) for name in stored.keys() if name not in LATER}  # noqa: SIM118
    parameters = json.loads(header["parameters"])
    header["parameters"] = json.dumps({key: own for key, own in parameters.items() if key != "method"})
    save_file(arrays, tmp_path / "old.safetensors", metadata=header)
    loaded = FailureDirections.load(tmp_path / "old.safetensors")
    assert (loaded.method, loaded.Cs) == ("svm", PAPER_COSTS)
    assert (loaded.loss_weight_ == 0).all()
    assert np.isnan(loaded.share_).all()
    assert loaded.explained_.shape == (1, 2, 3)
    assert np.isnan(loaded.explained_).all()
    values = loaded.decision_function(planted.x, planted.labels)
    np.testing.assert_array_equal(values, fit.decision_function(planted.x, planted.labels))
    assert {*LATER} <= {one.name for one in fields(fit.fitted)}


# --- what is refused --------------------------------------------------------------------------------------------------


def spoiled(change: Callable[[Planted, np.ndarray], object]) -> Callable[[Planted], Any]:
    return lambda one: change(one, one.loss.copy())


def with_entry(value: float) -> Callable[[Planted], Any]:
    def spoil(_: Planted, loss: np.ndarray) -> np.ndarray:
        loss[17] = value
        return loss

    return spoiled(spoil)


BAD = {
    "NaN": (with_entry(np.nan), "loss holds nan in row 17: pass -log.* clip it first, as by p.clip"),
    "infinite": (with_entry(np.inf), "loss holds inf in row 17: pass"),
    "negative": (with_entry(-0.5), "loss holds -0.5, which is below 0: pass -log"),
    "of percent": (spoiled(lambda one, _: -np.log(100 * one.p)), "which is below 0: .* and not in percent"),
    "constant": (spoiled(lambda _, loss: np.full_like(loss, 0.7)), "loss is the same for every sample, which tells"),
    "of the predicted class": (
        spoiled(lambda one, _: -np.log(np.maximum(one.p, 1 - one.p))),
        "loss contradicts the answers: .* wrong samples have p above 0.5, .* not the confidence of the predicted class",
    ),
    "shuffled": (spoiled(lambda _, loss: np.roll(loss, 1)), "loss contradicts the answers"),
    "too few": (
        spoiled(lambda _, loss: loss[:-1]),
        r"loss has shape \(199,\), labels \(200,\): pass one loss for each",
    ),
    "of two columns": (spoiled(lambda _, loss: loss[:, None]), r"loss has shape \(200, 1\)"),
    "text": (spoiled(lambda _, loss: loss.astype(str)), "loss is of type|loss is|not numeric"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_losses_that_cannot_be_are_refused_by_name(
    planted: Planted, spoil: Callable[[Planted], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FailureDirections(method="latent").fit(planted.x, planted.labels, planted.right, loss=spoil(planted))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_so_they_are_where_a_decision_is_asked_for(planted: Planted, fitted: FailureDirections, value: float) -> None:
    with pytest.raises(InputError, match="loss holds"):
        fitted.decision_function(planted.x, planted.labels, loss=with_entry(value)(planted))


def test_losses_of_zero_and_huge_ones_are_margins_at_the_bound(planted: Planted) -> None:
    loss = planted.loss.copy()
    loss[np.flatnonzero(planted.right)[:5]], loss[np.flatnonzero(~planted.right)[:5]] = 0.0, 1e4
    fit = FailureDirections(method="latent", **ONE).fit(planted.x, planted.labels, planted.right, loss=loss)
    assert np.isfinite(fit.decision_function(planted.x, planted.labels, loss=loss)).all()


def test_a_stray_row_does_not_refuse_all() -> None:
    """As of a mean over several views, whose answer is by vote."""
    many = Planted(n=1200)
    loss = many.loss.copy()
    loss[np.flatnonzero(~many.right)[0]] = 0.6
    assert FailureDirections(method="latent", **ONE).fit(many.x, many.labels, many.right, loss=loss).status_ == ["ok"]


def test_the_svm_takes_no_loss(planted: Planted) -> None:
    with pytest.raises(InputError, match='loss was given, but a SVM knows right and wrong alone: use method="latent"'):
        FailureDirections().fit(planted.x, planted.labels, planted.right, loss=planted.loss)
    fit = FailureDirections().fit(planted.x, planted.labels, planted.right)
    with pytest.raises(InputError, match='loss was given, but a SVM looks at vectors alone: fit with method="latent"'):
        fit.decision_function(planted.x, planted.labels, loss=planted.loss)


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(InputError, match="method is 'pca': use one of svm, latent"):
        FailureDirections(method="pca").check()
    with pytest.raises(InputError, match="published is True and method is 'latent'"):
        FailureDirections(method="latent", published=True).check()
    with pytest.raises(BackendError, match="backend is 'numba' and method 'latent'"):
        FailureDirections(method="latent", backend="numba").check()
    with pytest.raises(BackendError, match="backend is 'torch' and method 'svm'"):
        FailureDirections(backend="torch").check()
    assert FailureDirections(method="latent", backend="torch").solver_settings.Cs == LATENT_COSTS


# --- odd data ---------------------------------------------------------------------------------------------------------


def test_a_class_of_three_samples_has_a_status() -> None:
    x, p = np.random.default_rng(0).normal(size=(7, 4)), np.array([0.9, 0.1, 0.8, 0.9, 0.2, 0.7, 0.1])
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    fit = FailureDirections(method="latent", n_permutations=9, n_resamples=2, nested=True)
    fit.fit(x, labels, p > 0.5, loss=-np.log(p))
    assert fit.status_ == ["too_few_errors", "ok"]
    values = fit.decision_function(x, labels, loss=-np.log(p))
    assert np.isnan(values[:3]).all()
    assert np.isfinite(values[3:]).all()


def finite_everywhere(x: np.ndarray, p: np.ndarray, **changes: Any) -> FailureDirections:
    labels, loss = np.zeros(len(x), int), -np.log(p)
    fit = FailureDirections(**{"method": "latent", "n_permutations": 9, "n_resamples": 2, **ONE} | changes)
    fit.fit(x, labels, p > 0.5, loss=loss)
    assert fit.status_ == ["ok"]
    for value in (fit.decision_function(x, labels), fit.decision_function(x, labels, loss=loss), fit.intercept_):
        assert np.isfinite(value).all()
    assert torch.as_tensor(fit.resampled_coef_).isfinite().all()
    assert 0 < fit.p_value_[0, 0] <= 1
    assert (fit.explained_ >= 0).all()
    assert (fit.explained_ <= 1).all()
    return fit


@pytest.mark.parametrize("whiten", [True, False])
def test_more_dimensions_than_samples(whiten: bool) -> None:
    one = Planted(n=60, d=150, separation=8.0)
    fit = finite_everywhere(one.x, one.p, whiten=whiten)
    hardest = np.argsort(fit.decision_function(one.x, one.labels, loss=one.loss))[: one.member.sum()]
    assert one.member[hardest].mean() > 0.8


def test_rows_that_are_there_twice_are_decided_alike(planted: Planted) -> None:
    x, p = np.repeat(planted.x[:80], 2, axis=0), np.repeat(planted.p[:80], 2)
    values = finite_everywhere(x, p).decision_function(x, np.zeros(160, int))
    np.testing.assert_allclose(values[::2], values[1::2], atol=1e-9)


@pytest.mark.parametrize("x", [np.ones((60, 4)), np.zeros((60, 4))], ids=["constant", "zeros"])
def test_vectors_that_tell_nothing_find_nothing(x: np.ndarray) -> None:
    p = np.random.default_rng(0).uniform(0.05, 0.95, 60)
    fit = finite_everywhere(x, p)
    assert fit.p_value_[0, 0] > 0.1
    assert np.isnan(fit.share_[0, 0])
    assert np.linalg.norm(fit.coef_) < 1e-3


def test_every_sample_in_the_failure() -> None:
    """All wrong is a status; where all but a few are, those few are the easy side."""
    one = Planted(n=120, share=1.0)
    p = np.minimum(one.p, 0.49)
    fit = FailureDirections(method="latent").fit(one.x, one.labels, p > 0.5, loss=-np.log(p))
    assert fit.status_ == ["all_errors"]
    p[:6] = 0.8
    finite_everywhere(one.x, p)


def test_a_feature_that_is_constant_has_no_part_in_it(planted: Planted) -> None:
    x = planted.x.copy()
    x[:, 3] = 0.1
    assert (finite_everywhere(x, planted.p).coef_[0, 0, 3] == 0).all()
