from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from fdgpu.arrays import counted_crossings
from fdgpu.auditing.columns.inputs import check_inputs
from fdgpu.errors import InputError
from tests.pretend_cuda import pretend_cuda, up


def test_names_and_ids_mean_the_same() -> None:
    by_name = check_inputs(["b", "a", "b"], ["b", "b", "a"], ["a", "b"], None, None)
    by_id = check_inputs(torch.tensor([1, 0, 1]), np.array([1, 1, 0]), ["a", "b"], None, None)
    assert by_name.labels.tolist() == by_id.labels.tolist() == [1, 0, 1]
    assert by_name.correct.tolist() == [True, False, False]
    assert by_name.splits.tolist() == ["val"] * 3


def test_classes_that_occur_are_the_default_and_numbers_sort_as_numbers() -> None:
    assert check_inputs(["10", "9"], ["9", "2"], None, None, None).class_names == ("2", "9", "10")
    assert check_inputs([3, 0], [1, 0], None, None, None).class_names == ("0", "1", "2", "3")


def test_a_tables_column_of_names_will_do() -> None:
    column = np.array(["b", "a"], dtype=object)
    assert check_inputs(column, column, None, None, None).class_names == ("a", "b")


def test_classes_of_the_same_name_stay_two() -> None:
    names = ["crane", "tench", "crane"]
    inputs = check_inputs([0, 2], [2, 1], names, None, None)
    assert inputs.labels.tolist() == [0, 2]
    assert inputs.class_names == ("crane (0)", "tench", "crane (2)")
    assert inputs.given_names == tuple(names)
    by_name = check_inputs(["crane (0)", "crane (2)"], ["crane (2)", "tench"], names, None, None)
    assert by_name.labels.tolist() == [0, 2]
    with pytest.raises(InputError, match=r"predictions holds 'crane' in row 1, the name of 2 .* crane \(0\) and crane"):
        check_inputs(["tench", "tench"], ["tench", "crane"], names, None, None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a", "x"], ["a", "a"], ["a"], None, None), r"labels holds x in row 1 \(1 such rows\)"),
        (([0, 1], [0, 5], ["a", "b"], None, None), "predictions holds 5 in row 1"),
        (([0, -1], [0, 0], None, None, None), "count from 0"),
        ((["a"], ["a", "b"], None, None, None), "predictions has 2 entries, labels has 1"),
        ((["a"], ["a"], None, ["val", "test"], None), "splits has 2 entries"),
        ((["a"], ["a"], None, ["dev"], None), "splits holds 'dev' in row 0"),
        ((["a"], ["a"], None, ["train"], None), "no image is in the split 'val'"),
        ((["a"], ["a"], None, None, [1.5]), r"confidence holds 1.5 in row 0"),
        ((["a"], ["a"], None, None, [float("nan")]), "confidence holds nan"),
        ((["a"], ["a"], None, None, [[0.5, 0.5]]), r"confidence has shape \(1, 2\)"),
        ((["a"], ["a"], None, None, ["x"]), "confidence has shape"),
        (([0], [10**9], None, None, None), "class id 1000000000"),
        (("ab", "ab", None, None, None), "labels is one string"),
        ((["a"], [0], None, None, None), "different kinds"),
        (([0.5], [0], None, None, None), "class names or integer"),
        (([], [], None, None, None), "nothing to audit"),
    ],
)
def test_a_mistake_is_named(columns: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_inputs(*columns)


def as_lists(scores: np.ndarray) -> pa.Array:
    return pa.array(list(scores))


# --- scores and probabilities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [np.asarray, torch.from_numpy, list, np.ndarray.tolist, lambda one: list(torch.from_numpy(one)), as_lists],
)
@pytest.mark.parametrize("of", ["logits", "probabilities"])
def test_scores_are_classes_and_two_probabilities(kind: Callable, of: str) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 3)) * 3, rng.integers(0, 3, 30)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    inputs = check_inputs(labels, kind(logits if of == "logits" else probabilities), ["a", "b", "c"])
    assert inputs.predictions.tolist() == logits.argmax(axis=1).tolist()
    assert inputs.confidence is not None
    assert inputs.true_probability is not None
    np.testing.assert_allclose(inputs.confidence, probabilities.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(inputs.true_probability, probabilities[np.arange(30), labels], atol=1e-6)
    said = {"logits": "logits: probabilities are their softmax", "probabilities": "probabilities"}[of]
    assert inputs.notes == (f"Scores of 3 classes are {said}.",)
    assert inputs.doubts == ()
    assert inputs.class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    "names", [{"0": "cat", "1": "dog"}, {0: "cat", 1: "dog"}, {"cat": 0, "dog": 1}, ["cat", "dog"]]
)
def test_id2label_names_the_columns(names: Any) -> None:
    """Hugging Face's ``model.config.id2label``, whose keys are strings in JSON, and ``label2id``."""
    scores = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    for labels in (["cat", "cat", "dog"], [0, 0, 1]):
        inputs = check_inputs(labels, scores, names)
        assert inputs.class_names == ("cat", "dog")
        assert inputs.correct.tolist() == [True, False, False]


def test_true_probability_is_a_column_of_its_own() -> None:
    inputs = check_inputs(["a", "b"], ["a", "a"], None, confidence=[0.9, 0.8], true_probability=[0.9, 0.1])
    assert inputs.true_probability is not None
    assert inputs.true_probability.tolist() == [0.9, 0.1]
    assert inputs.confidence is not None
    assert inputs.confidence.tolist() == [0.9, 0.8]
    assert inputs.doubts == ()
    other = check_inputs(["a", "b"], ["a", "a"], None, confidence=[0.9, 0.8], true_probability=[0.9, 0.2])
    assert inputs.fingerprint([], "") != other.fingerprint([], "")
    for odd, message in (
        ([0.9], "true_probability has 1 entries"),
        ([0.9, 1.2], "true_probability holds 1.2 in row 1"),
    ):
        with pytest.raises(InputError, match=message):
            check_inputs(["a", "b"], ["a", "a"], None, true_probability=odd)


@pytest.mark.parametrize(
    ("true_probability", "doubt"),
    [
        ([0.9, 0.6, 0.1], "For 1 of right predictions, confidence and true_probability differ, .*row 1 0.7 and 0.6"),
        ([0.1, 0.3, 0.2], "For 2 of right predictions"),
        ([0.9, 0.7, 0.8], "For 1 of wrong predictions, the true class is more probable .*row 2 0.6 and 0.8"),
        ([0.9, 0.7, 0.6], ""),  # a tie
        ([0.902, 0.698, 0.1], ""),  # rounded
    ],
)
def test_probabilities_that_contradict_each_other_are_a_doubt(true_probability: list[float], doubt: str) -> None:
    inputs = check_inputs(
        ["a", "b", "b"], ["a", "b", "a"], None, confidence=[0.9, 0.7, 0.6], true_probability=true_probability
    )
    assert [bool(re.match(doubt, one)) for one in inputs.doubts] == [True] * bool(doubt)


def test_scores_stay_on_their_device(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = torch.randn(9, 3), [0, 1, 2] * 3
    here = check_inputs(labels, scores, ["a", "b", "c"])
    with pretend_cuda(monkeypatch), counted_crossings() as crossings:
        there = check_inputs(labels, up(scores), ["a", "b", "c"])
    assert [one.shape for one in crossings] == [(7 * 9,)]
    for one in ("predictions", "confidence", "true_probability"):
        np.testing.assert_allclose(getattr(there, one), getattr(here, one))
