"""Labels (n, k): how answers are read, cut and left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score as scikit_f1

from fdgpu.auditing.columns.conditions import best_f1_threshold, f1_score, judge_conditions
from fdgpu.auditing.columns.inputs import AuditInputs, check_inputs
from fdgpu.errors import InputError
from fdgpu.findings import AnswerKind, Split

NAN = float("nan")
SPLITS = ["train"] * 4 + ["val"] * 4
LABELS = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, -1], [0, 0]])
ANSWERS = np.array([[0.9, 0.2], [0.4, 0.3], [0.6, 0.7], [0.1, 0.6], [0.5, 0.1], [0.7, 0.8], [0.6, 0.2], [0.2, 0.9]])
NAMES = ("effusion", "mass")


def checked(labels: Any = LABELS, answers: Any = ANSWERS, names: Any = NAMES, splits: Any = SPLITS) -> AuditInputs:
    return check_inputs(labels, answers, names, splits)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30).filter(
        lambda x: any(b for _, b in x)
    )
)
@settings(deadline=None)
def test_no_threshold_is_better_and_of_the_best_it_is_the_highest(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([s for s, _ in pairs]) / 5, np.array([b for _, b in pairs])
    chosen = best_f1_threshold(scores, labels)
    own = scikit_f1(labels, scores >= chosen)
    assert f1_score(scores >= chosen, labels) == pytest.approx(own)
    for other in np.unique(scores):
        score = scikit_f1(labels, scores >= other)
        assert score <= own + 1e-12
        assert score < own - 1e-12 or other <= chosen


def test_every_condition_is_two_classes_cut_at_its_own_threshold() -> None:
    inputs = checked()
    assert len(inputs) == 8
    assert inputs.class_names == ("no effusion", "effusion", "no mass", "mass")
    assert inputs.by_image(inputs.labels).tolist() == [
        [1, 2], [0, 3], [1, 3], [0, 2], [1, 2], [0, 3], [1, -1], [0, 2],
    ]  # fmt: skip
    effusion, mass = inputs.conditions
    assert (effusion.threshold, effusion.f1, effusion.split, effusion.n_unknown) == (0.6, 1.0, Split.TRAIN, 0)
    assert (mass.threshold, mass.f1, mass.split, mass.n_unknown) == (0.3, pytest.approx(4 / 5), Split.TRAIN, 1)
    assert inputs.by_image(inputs.predictions)[4:].tolist() == [[0, 2], [1, 3], [1, 2], [0, 3]]
    assert inputs.by_image(inputs.correct)[4:, 0].tolist() == [False, False, True, True]
    assert inputs.by_image(inputs.confidence)[4:, 0].tolist() == pytest.approx([0.5, 0.7, 0.6, 0.8])
    assert inputs.doubts == ()
    assert [inputs.label_of(row) for row in (0, 2, 3)] == ["effusion", "effusion, mass", "no condition"]


@pytest.mark.parametrize("make", [np.asarray, torch.tensor, np.ndarray.tolist, list, lambda x: list(torch.tensor(x))])
def test_rows_of_any_kind_are_taken(make: Any) -> None:
    assert checked(make(LABELS), make(ANSWERS)).labels.tolist() == checked().labels.tolist()


def test_what_is_not_known_may_be_nan() -> None:
    labels = LABELS.astype(float)
    labels[labels < 0] = NAN
    assert checked(labels).labels.tolist() == checked().labels.tolist()


def test_the_probability_of_the_true_side_stands_beside_that_of_the_predicted() -> None:
    judged = judge_conditions(LABELS, ANSWERS, NAMES, np.array(SPLITS))
    assert judged.true_probability is not None
    assert judged.true_probability.reshape(8, 2)[4:6].ravel().tolist() == pytest.approx([0.5, 0.9, 0.3, 0.8])


def test_logits_are_known_by_their_range_and_change_no_answer() -> None:
    logits = np.log(ANSWERS / (1 - ANSWERS))
    inputs, same = checked(answers=logits), checked()
    assert {one.answers for one in inputs.conditions} == {AnswerKind.LOGITS}
    assert inputs.predictions.tolist() == same.predictions.tolist()
    np.testing.assert_allclose(inputs.confidence, same.confidence)
    assert np.isfinite(checked(answers=1e5 * logits).confidence).all()


@pytest.mark.parametrize("kind", [bool, int, float])
def test_decisions_need_no_threshold(kind: type) -> None:
    inputs = checked(answers=(ANSWERS > 0.5).astype(kind))
    assert inputs.confidence is None
    for one in inputs.conditions:
        assert (one.answers, one.left_out) == (AnswerKind.DECISIONS, False)
        assert np.isnan(one.threshold)
    assert inputs.conditions[1].f1 == pytest.approx(0.5)


def test_without_train_the_threshold_is_of_val_and_that_is_a_doubt() -> None:
    inputs = checked(splits=None)
    assert {one.split for one in inputs.conditions} == {Split.VAL}
    (doubt,) = inputs.doubts
    assert "thresholds of 2 of 2 conditions (effusion, mass) have the best F1 on val" in doubt


def test_a_condition_without_positives_is_left_out_and_the_others_go_on() -> None:
    labels = LABELS.copy()
    labels[:, 1] = 0
    inputs = checked(labels)
    assert [one.left_out for one in inputs.conditions] == [False, True]
    assert (inputs.by_image(inputs.labels)[:, 1] == -1).all()
    assert "1 of 2 conditions were left out (mass)" in inputs.doubts[0]
    decided = checked(labels, ANSWERS > 0.5)  # no threshold is needed
    assert (decided.by_image(decided.labels)[:, 1] == 2).all()


def test_answers_that_tell_nothing_are_a_doubt() -> None:
    (doubt,) = checked(answers=np.stack([ANSWERS[:, 0], np.full(8, 0.5)], axis=1)).doubts
    assert "every image is flagged for 1 of 2 conditions (mass)" in doubt


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": LABELS + 1.5}, r"labels has shape \(8, 2\) and holds 2.5 in row 0, column 0.*argmax"),
        ({"labels": np.where(LABELS == 1, 1, -1)}, "1 and -1, and no 0: write 0 where a condition is absent"),
        ({"labels": np.zeros((8, 2), int)}, r"no condition \(effusion, mass\) of which train or val"),
        ({"answers": ANSWERS[:, :1]}, r"predictions has shape \(8, 1\), labels \(8, 2\)"),
        ({"answers": [0] * 8}, r"predictions has shape \(8,\) and type int64: for several conditions"),
        ({"answers": np.where(ANSWERS == 0.8, NAN, ANSWERS)}, r"no value \(NaN\) in row 5 for 'mass' \(1 such\)"),
        ({"names": ["effusion"]}, "class_names has 1 entries, labels has 2 columns"),
        ({"splits": ["val"] * 3}, "splits has 3 entries, labels has 8"),
        ({"labels": [[1, 0], [1]] * 4}, "labels cannot be read as an array"),
    ],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(**given)


def test_confidence_is_said_by_the_answers() -> None:
    with pytest.raises(InputError, match="confidence is given beside labels"):
        check_inputs(LABELS, ANSWERS, NAMES, SPLITS, np.ones(8))


def test_conditions_of_one_name_are_told_apart() -> None:
    assert checked(names=("a", "a")).class_names == ("no a (0)", "a (1)", "no a (2)", "a (3)")
    assert checked(names=None).class_names[:2] == ("no condition 0", "condition 0")
