"""What is chosen from a pool, and what is not; weights, hard and soft."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.repair import hardest, predicted_failures, soft_up_weights, up_weights

values_of = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 3)), min_size=1, max_size=60), st.integers(1, 5))
def test_the_lowest_k_of_each_class(pairs: list[tuple[int, int]], k: int) -> None:
    values, labels = np.array([v for v, _ in pairs], float), np.array([c for _, c in pairs])
    enough = [c for c in range(4) if (labels == c).sum() >= k]
    chosen = hardest(values, labels, k, classes=enough)
    assert len(set(chosen.tolist())) == len(chosen) == k * len(enough)
    for i, c in enumerate(enough):
        own = chosen[i * k : (i + 1) * k]
        assert (labels[own] == c).all()
        rest = np.setdiff1d(np.flatnonzero(labels == c), own)
        assert (np.diff(values[own]) >= 0).all()
        assert not len(rest) or values[own].max() <= values[rest].min()


def test_equal_values_go_by_their_index_and_nan_is_never_chosen() -> None:
    values = torch.tensor([1.0, torch.nan, 1.0, 1.0, -2.0])
    assert hardest(values, torch.zeros(5, dtype=torch.int64), 3).tolist() == [4, 0, 2]


def test_a_class_without_a_direction_gives_none_and_is_named() -> None:
    with pytest.warns(FdgpuWarning, match=r"1 classes have no direction.*\[7\]"):
        chosen = hardest([np.nan, np.nan, 1.0, 0.5], [7, 7, 8, 8], 1)
    assert chosen.tolist() == [3]
    with pytest.warns(FdgpuWarning, match="2 classes"):
        assert hardest([np.nan, np.nan], [7, 8], 1).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [0, 1], 2), "class 0 has 1 samples in the pool, k is 2: lower k"),
        (([1.0, np.nan], [0, 0], 2), "class 0 has 1 samples"),
        (([1.0, 2.0], [0, 1], 1, [0, 5]), "class 5 is empty: the pool has no sample"),
        (([1.0, 2.0], [0, 1], 0), "k is 0"),
        (([1.0, 2.0], [0, 1], 2.0), "k is 2.0: use a whole number"),
        (([1.0, 2.0], [0, 1], np.nan), "k is nan"),
        (([1.0, 2.0], [0, 1], None), "k is None"),
        (([1.0, 2.0], [0, 1], 1, 1), r"classes is 1: pass several class ids, such as \[1\]"),
        (([1.0, 2.0], [0, 1], 1, ["cat"]), "classes is of type <U3"),
        (([1.0, 2.0], [0, 1], 1, [0.5]), "classes is of type float64"),
        ((["a", "b"], [0, 1], 1), "values is of type <U1: pass .* or integers for class ids"),
        (([1.0, 2.0], [0], 1), "labels has shape"),
        (([1.0, 2.0], [0.5, 1.0], 1), "pass integer class ids"),
        (([], [], 1), "n > 0"),
        (([1.0, -np.inf], [0, 0], 1), "infinity, the first at 1"),
    ],
)
def test_what_nothing_can_be_chosen_from(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hardest(*arguments)


@given(st.lists(st.floats(-3, 3) | st.just(float("nan")), min_size=1, max_size=40))
def test_predicted_failures_are_those_below_zero(values: list[float]) -> None:
    assert predicted_failures(values).tolist() == [i for i, v in enumerate(values) if v < 0]


def test_predicted_failures_of_some_classes() -> None:
    assert predicted_failures([-1.0, -1.0, 1.0, -2.0], [0, 1, 1, 1], classes=[1]).tolist() == [1, 3]
    with pytest.raises(InputError, match="class 9 is empty"):
        predicted_failures([-1.0], [0], classes=[9])
    with pytest.raises(InputError, match=r"labels has shape \(2,\), values has 1"):
        predicted_failures([-1.0], [0, 1])
    with pytest.raises(InputError, match="classes is of type <U1"):
        predicted_failures([-1.0], [0], classes=["a"])
    with pytest.raises(InputError, match="classes was given without labels"):
        predicted_failures([-1.0], classes=[0])


@pytest.mark.parametrize(
    "kind", [list, tuple, set, iter, np.array, torch.tensor, lambda own: dict.fromkeys(own).keys()]
)
@given(classes=st.lists(st.integers(0, 3), min_size=1, max_size=6), k=st.integers(1, 3).map(np.int64))
def test_classes_are_a_set_of_whatever_kind(
    kind: Callable[[list[int]], Iterable[int]], classes: list[int], k: np.int64
) -> None:
    """They count once each, in the order in which they came."""
    values, labels = np.arange(24) % 7 - 3.0, np.arange(24) % 4
    each = list(dict.fromkeys(classes))
    order = sorted(each) if kind is set else each
    parts = [np.flatnonzero(labels == c)[np.argsort(values[labels == c], kind="stable")[:k]] for c in order]
    assert hardest(values, labels, k, kind(classes)).tolist() == np.concatenate(parts).tolist()
    failures = [i for i in range(24) if values[i] < 0 and labels[i] in classes]
    assert predicted_failures(values, labels, kind(classes)).tolist() == failures


def test_the_papers_weights() -> None:
    weights = up_weights([-0.5, 0.0, 2.0, np.nan, -1e-9], factor=2)
    assert weights.dtype == np.float32
    assert weights.tolist() == [2, 1, 1, 1, 2]


@given(values_of, st.floats(1, 8))
def test_soft_weights_fall_with_the_value_and_stay_between(values: list[float], factor: float) -> None:
    weights = soft_up_weights(values, factor, width=0.7)
    ordered = weights[np.argsort(values, kind="stable")]
    assert (np.diff(ordered) <= 1e-6).all()
    assert (weights >= 1 - 1e-6).all()
    assert (weights <= factor + 1e-5).all()


@given(values_of.filter(lambda values: min(abs(v) for v in values) > 1e-3), st.floats(0, 8))
def test_a_small_width_is_the_hard_rule(values: list[float], factor: float) -> None:
    hard = np.where(np.array(values) < 0, factor, 1)
    assume(hard.max() > 1e-6)  # weights that sum to zero are refused
    np.testing.assert_allclose(soft_up_weights(values, factor, width=1e-6), hard, rtol=1e-5, atol=1e-6)


def test_half_way_at_the_boundary_and_the_default_width_is_of_the_values() -> None:
    assert soft_up_weights([0.0, 5.0], 3.0)[0] == 2.0
    values = np.array([-2.0, -1.0, 0.5, np.nan])
    np.testing.assert_allclose(soft_up_weights(values, 3.0), soft_up_weights(1000 * values, 3.0), rtol=1e-6)
    assert soft_up_weights(values, 3.0)[3] == 1
    assert soft_up_weights([0.0, 0.0], 3.0).tolist() == [2, 2]
    assert soft_up_weights([np.nan], 3.0).tolist() == [1]


@pytest.mark.parametrize("weigh", [up_weights, soft_up_weights])
def test_factors_that_cannot_be(weigh) -> None:
    with pytest.raises(InputError, match="factor is -1"):
        weigh([1.0], -1.0)
    for factor in (np.inf, np.nan, 1e300, None, "twice", [2, 3]):
        with pytest.raises(InputError, match="factor is"):
            weigh([1.0, -1.0], factor)


def test_weights_that_sum_to_zero_and_a_width_that_is_none() -> None:
    for factor in (0, 1e-60):  # 1e-60 is zero in float32
        with pytest.raises(InputError, match="sum to zero"):
            up_weights([-1.0, -2.0], factor)
        with pytest.raises(InputError, match="sum to zero"):
            soft_up_weights([-1.0, -2.0], factor, width=1e-3)
    assert soft_up_weights([-1.0, 2.0], factor=0, width=1e-3).tolist() == [0, 1]
    with pytest.raises(InputError, match="width is 0"):
        soft_up_weights([1.0], width=0.0)
