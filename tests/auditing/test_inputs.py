from __future__ import annotations

import numpy as np
import pytest
import torch

from fdgpu.auditing.inputs import check_inputs
from fdgpu.errors import InputError


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
