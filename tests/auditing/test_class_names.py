"""Labels and predictions that speak of the same classes, of others, and of none."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.auditing.columns.class_names import key_of, match_classes, read_class_names
from fdgpu.auditing.columns.inputs import AuditInputs, check_inputs
from fdgpu.auditing.columns.one_column import as_column, has_scores
from fdgpu.errors import FdgpuError, InputError


def checked(labels: Any, predictions: Any, class_names: Any = None, **columns: Any) -> AuditInputs:
    return check_inputs(labels, predictions, class_names, **columns)


SAME = [3, 0, 3, 1]


@pytest.mark.parametrize(
    "column",
    [
        SAME,
        tuple(SAME),
        np.array(SAME, np.uint64),
        np.array(SAME, ">i2"),
        np.array(SAME, np.float32),
        np.array(SAME, object),
        [np.float64(one) for one in SAME],
        torch.tensor(SAME),
        list(torch.tensor(SAME)),
        np.ma.masked_array(SAME, [False] * 4),
        pa.array(SAME),
        pa.chunked_array([SAME[:1], [], SAME[1:]]),
        pa.array(["3.0", "0", "3", "1"]).dictionary_encode(),
        ["3.0", "0.0", "3.0", "1.0"],
        ["03", "00", "03", "01"],
        ["+3", "0", "3.", "1"],
        ["tensor(3)", "tensor(0)", "tensor(3, device='cuda:0')", "tensor(1., dtype=torch.float16)"],
        ["np.int64(3)", "np.float32(0.0)", "array(3)", "numpy.uint8(1)"],
        ["[3]", "[0]", "tensor([3])", "array([1.])"],
        np.array(["3", "0", "3", "1"]),
    ],
)
def test_equal_numbers_are_equal_however_they_are_given(column: Any) -> None:
    for one in (checked(column, SAME), checked(SAME, column), checked(column, column, ["a", "b", "c", "d"])):
        assert one.labels.tolist() == one.predictions.tolist() == SAME
    assert checked(SAME, column).class_names == ("0", "1", "2", "3")
    assert checked(column, SAME, {3: "d", 0: "a", 1: "b"}).labels.tolist() == [2, 0, 2, 1]


@given(st.integers(-(10**30), 10**30), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["{}", "tensor({})"]))
def test_a_whole_number_has_one_key(number: int, zeros: int, decimals: int, printed: str) -> None:
    text = f"{'-' * (number < 0)}{'0' * zeros}{abs(number)}{'.' * (decimals > 0)}{'0' * decimals}"
    assert key_of(printed.format(text)) == str(number)
    assert Fraction(text.rstrip(".")) == number


@pytest.mark.parametrize(
    "text", ["cat", "3a", "1e3", "0.5", "1.5", "tensor(cat)", "", "3 4", "٣", "v3", "tensor(3, 4)"]
)
def test_what_is_no_whole_number_is_itself(text: str) -> None:
    assert key_of(text) == text


def test_a_number_is_a_name_where_it_is_one() -> None:
    inputs = checked(["7", "3.0", "7"], ["7", "7", "3"], ["3", "7"])
    assert (inputs.labels.tolist(), inputs.predictions.tolist()) == ([1, 0, 1], [1, 1, 0])
    assert checked(["1", "0"], ["1", "1"], ["3", "7"]).labels.tolist() == [1, 0]
    assert checked([1, 0], [1, 1], ["1", "0"]).labels.tolist() == [1, 0]  # numbers count
    inputs = checked(["3", "3.0"], ["3.0", "3"], ["3", "3.0"])  # two names, though they are equal numbers
    assert (inputs.labels.tolist(), inputs.predictions.tolist()) == ([0, 1], [1, 0])
    assert checked(["-1", "1"], ["1.0", "-1.0"]).class_names == ("1", "-1")
    assert checked(["03", "11"], ["3", "11"]).class_names == ("03", "11")


@pytest.mark.parametrize(
    ("names", "given_names"),
    [
        ({7: "dog", 3: "cat"}, ("cat", "dog")),
        ({"7": "dog", "3": "cat"}, ("cat", "dog")),
        ({"dog": 7, "cat": 3}, ("cat", "dog")),
        ({np.int64(7): "dog", 3: "cat"}, ("cat", "dog")),
    ],
)
def test_a_mapping_of_ids_and_names(names: Any, given_names: tuple) -> None:
    by_id, by_name = checked([7, 3, 7], [7, 7, 3], names), checked(["dog", "cat", "dog"], ["dog", "dog", "cat"], names)
    assert by_id.class_names == by_name.class_names == given_names
    assert by_id.labels.tolist() == by_name.labels.tolist() == [1, 0, 1]
    assert by_id.predictions.tolist() == by_name.predictions.tolist() == [1, 1, 0]
    with pytest.raises(InputError, match="labels holds 0 in row 0"):
        checked([0, 1], [0, 0], names)


@pytest.mark.parametrize(
    ("labels", "predictions", "names", "message"),
    [
        (["cat", "dog"], ["0", "1"], None, "different kinds: labels holds 'cat', 'dog', predictions '0', '1'"),
        (["cat", "dog"], ["n01", "n02"], None, "share no class: labels holds 'cat', 'dog', predictions 'n01', 'n02'"),
        ([0, 0], [1, 1], None, "share no class"),
        (["a", "b"], ["[0.1 0.2]", "[0.3 0.1]"], None, r"predictions holds '\[0.1 0.2\]' in row 0.*the argmax"),
        (["a", "b"], ["a", "(0.1, 0.9)"], ["a", "b"], "in row 1, which is several numbers"),
        (["a", "b"], ["a", "tensor([-0.1,\n 0.2])"], None, "several numbers"),
        ([0, 1], np.array([[1, 0], [0, 1]]), None, r"predictions has shape \(2, 2\) and type int.*class ids"),
        ([0, 1], np.array([[0.1], [0.8]]), None, r"predictions has shape \(2, 1\).*\(n, k\) scores"),
        ([0, 1], [[0.1, 0.9], [0.8]], None, "predictions has 1 scores in row 1 and 2 in row 0"),
        ([0, 2], [[0.1, 0.9], [0.8, 0.2]], None, "labels holds 2 in row 1 .*not one of the 2 classes"),
        ([0, 1, 1], [[0.1, 0.9], [0.8, 0.2]], None, "predictions has 2 entries, labels has 3"),
        (["a", "b"], [[0.1, 0.9], [0.8, 0.2]], None, "holds scores of 2 classes, and labels names, such as 'a': pass"),
        (["a", "b"], [[0.1, 0.9], [0.8, 0.2]], ["a", "b", "c"], "has 2 columns, class_names names 3 classes: name the"),
        (
            [0, 1],
            [[0.1, 0.9], [float("nan"), 0.2]],
            None,
            r"holds NaN or infinity in row 1 \(1 such rows\)",
        ),
        ([f"{i / 50}" for i in range(40)], ["0.1"] * 40, None, "labels holds 40 different values in 40 rows"),
        (list(range(40)), list(range(40)), None, "these are no classes"),
        ([0, 1], [0.0, 0.5], None, "predictions holds 0.5, which is no whole number, in row 1"),
        ([0, float("nan")], [0, 1], None, r"labels holds no value \(NaN\) in row 1"),
        (np.array([0, np.nan]), [0, 1], None, r"labels holds no value \(NaN\) in row 1"),
        (["a", None], ["a", "a"], None, "labels holds no value in row 1"),
        (pa.array(["a", None]), ["a", "a"], None, "labels holds no value in row 1"),
        (np.ma.masked_array([0, 1, 1], [False, True, False]), [0, 1, 1], None, "labels is masked in row 1"),
        ([True, False], [0, 1], None, "labels holds True of type bool in row 0"),
        (np.array([True, False]), [0, 1], None, "labels has .* bool: pass the class itself"),
        (["a", "b"], ["a", "B"], ["a", "b"], "predictions holds B in row 1 .* is 'b' meant?"),
        (["a", "\ud800"], ["a", "a"], None, "labels holds '.ud800' in row 1, half of a surrogate pair"),
        (["a", "x" * 1001], ["a", "a"], None, "labels has 1001 characters in row 1"),
        (["a", ""], ["a", "a"], None, "labels is empty in row 1"),
        ([0, 2**64], [0, 0], None, "class id 18446744073709551616"),
        (np.array([0, 2**64 - 1], np.uint64), [0, 0], None, "class id 18446744073709551615"),
        (["0", "9" * 500], [0, 0], None, "class id 999"),
        ({"a": 1}, ["a"], None, "labels is a dict"),
        ({"a"}, ["a"], None, "labels is a set"),
        (np.array("ab"), ["a"], None, "labels is a ndarray"),
        (5, [0], None, "labels is a int"),
        (b"ab", [0, 0], None, "labels is a bytes"),
        ([0], [0], "cat", "class_names is one string"),
        ([0], [0], 5, "class_names is a int"),
        ([0], [0], [], "class_names is empty"),
        ([0], [0], {}, "class_names is empty"),
        ([0], [0], ["a", None], "class_names holds no value in row 1"),
        ([0], [0], {0: "a", "0": "b"}, "several names the same id"),
        ([0], [0], {"a": 0, "b": 0}, "several names the same id"),
        ([0], [0], {0: 1}, "class_names maps neither"),
        ([0], [0], {"a": "b"}, "class_names maps neither"),
    ],
)
def test_what_does_not_go_together_is_named(labels: Any, predictions: Any, names: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(labels, predictions, names)


def test_a_name_spelled_in_two_ways_is_a_doubt() -> None:
    labels = ["t-shirt"] * 6 + ["boot"] * 4
    predictions = ["t-shirt"] * 3 + ["T-shirt", "t_shirt", "boot"] + ["boot"] * 4
    (doubt,) = checked(labels, predictions).doubts
    assert doubt.startswith("2 entries of labels and predictions have names that are spelled in more than one way")
    assert "'t-shirt' (label of 6, predicted for 3) and 'T-shirt' (label of 0, predicted for 1) and 't_shirt'" in doubt
    assert checked(labels, predictions, ["t-shirt", "T-shirt", "t_shirt", "boot"]).doubts == (doubt,)
    assert checked(["A", "a"] * 3, ["a", "A"] * 2 + ["A", "a"]).doubts == ()  # letters: both are labels
    assert (
        checked(["café", "b"], ["cafe\u0301", "b"])
        .doubts[0]
        .startswith("2 entries of labels and predictions have names")
    )
    assert checked(["-1", "1"], ["1", "1"]).doubts == ()
    many = [f"name {i}" for i in range(9)]
    (doubt,) = checked([*many, "x"], [*(one.upper() for one in many), "x"]).doubts
    assert doubt.count(" and 'NAME") == 5
    assert "; and 4 more. Spell" in doubt


def test_a_prediction_that_is_never_a_label_is_a_doubt_unless_it_is_a_class() -> None:
    labels, predictions = ["cat"] * 4 + ["dog"], ["cat", "cow", "cow", "hen", "dog"]
    (doubt,) = checked(labels, predictions).doubts
    assert doubt.startswith("3 of 5 predictions name a class that is never a label: 'cow' (2 times), 'hen' (1 times).")
    assert checked(labels, predictions, ["cat", "dog", "cow", "hen"]).doubts == ()
    assert (
        checked([0, 0, 2], [0, 1, 2])
        .doubts[0]
        .startswith("1 of 3 predictions name a class that is never a label: '1' (1 times).")
    )
    assert checked(predictions, labels).doubts == ()  # a label that is never predicted is an error of the model


def test_names_in_brackets_are_names() -> None:
    names = ["(3 wheeler)", "[unk]", "(2, of clubs)", "[3]"]
    assert checked(names, names).class_names == ("3", "(2, of clubs)", "(3 wheeler)", "[unk]")


def test_no_right_prediction_is_a_doubt() -> None:
    (doubt,) = checked([0, 1], [1, 0]).doubts
    assert doubt.startswith("No prediction is right")


def test_class_names_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_bytes("\ufeffcrane\r\n t-shirt \nü\n\n".encode())
    assert read_class_names(file) == ["crane", "t-shirt", "ü"]
    for data, message in ((b"a\n\nb", "line 2 is empty"), (b"\xff", "save it as UTF-8"), (b"\n", "is empty")):
        file.write_bytes(data)
        with pytest.raises(InputError, match=message):
            read_class_names(file)
    with pytest.raises(InputError, match="no regular file: pass a text file"):
        read_class_names(Path("/dev/zero"))


ENTRY = (
    st.sampled_from(
        ["a", "b", "A", "3", "3.0", "03", "val", "test", "[1 2]", "tensor(3)", "", "\ud800", "x" * 1001, "0"]
    )
    | st.integers(-2, 4)
    | st.sampled_from([None, True, 1.0, 0.5, float("nan"), float("inf"), 2**70, b"a", (), [1], {}, object(), 1j])
    | st.sampled_from([np.int8(1), np.str_("a"), np.datetime64("2020"), torch.tensor(1), torch.tensor([1, 2])])
)
LISTED = st.lists(ENTRY, max_size=4) | st.lists(st.sampled_from(["a", "b", "val"]), min_size=2, max_size=2)


def made(listed: list) -> st.SearchStrategy[Any]:
    def kind(make: Any) -> Any:
        try:
            return make(listed)
        except (TypeError, ValueError, RuntimeError, OverflowError, pa.ArrowException):
            return listed

    makers = [list, tuple, set, iter, np.array, np.ma.array, torch.tensor, str, len, dict.fromkeys]
    makers.append(lambda one: np.array(one, object))
    if all(
        isinstance(one, (str, int, float, type(None))) for one in listed
    ):  # pyarrow crashes on some mixtures of others
        makers += [pa.array, lambda one: pa.array(one).dictionary_encode()]
    return st.sampled_from(makers).map(kind)


COLUMN = LISTED.flatmap(made) | st.sampled_from(
    [None, 5, 0.5, "a", b"", object(), float, np.array(3), np.zeros((2, 2))]
)


@settings(max_examples=500)
@given(
    labels=COLUMN,
    predictions=COLUMN,
    names=COLUMN,
    splits=COLUMN,
    confidence=COLUMN,
    groups=COLUMN,
    mask=st.integers(0, 15),
)
def test_only_our_errors_come_out(
    labels: Any, predictions: Any, names: Any, splits: Any, confidence: Any, groups: Any, mask: int
) -> None:
    rest = [column if mask >> i & 1 else None for i, column in enumerate((names, splits, confidence, groups))]
    try:
        inputs = check_inputs(labels, predictions, *rest)
    except FdgpuError:
        return
    n, classes, fewest = len(inputs), len(inputs.class_names), -1 if inputs.conditions else 0
    samples = n * max(1, len(inputs.conditions))
    assert inputs.labels.shape == inputs.predictions.shape == (samples,)
    assert inputs.splits.shape == (n,)
    assert set(inputs.splits) <= {"train", "val", "test"}
    assert ((inputs.labels >= fewest) & (inputs.labels < classes)).all()
    assert ((inputs.predictions >= 0) & (inputs.predictions < classes)).all()
    if (
        rest[0] is None and not inputs.conditions and not has_scores(predictions)
    ):  # what is equal, and no more, is right
        given = [[as_python(one) for one in column] for column in (labels, predictions)]
        assert inputs.correct.tolist() == [key_of(true) == key_of(guess) for true, guess in zip(*given, strict=True)]


def as_python(one: Any) -> str | int:
    value = one.as_py() if isinstance(one, pa.Scalar) else one.item() if hasattr(one, "item") else one
    return value if isinstance(value, str) else int(value)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=12))
def test_ids_name_what_was_given(rows: list) -> None:
    labels, predictions = map(list, zip(*rows, strict=True))
    if not set(labels) & set(predictions):
        return
    matched = match_classes(as_column(labels, "labels"), as_column(predictions, "predictions"), None)
    assert [matched.given[k] for k in matched.labels] == labels
    assert [matched.given[k] for k in matched.predictions] == predictions
