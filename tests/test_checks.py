"""One check a kind of value: what is accepted is the value itself, what is not names the parameter."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.checks import check_flag, check_name, check_number, check_seed, check_whole, shown
from fdgpu.errors import BackendError, InputError

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(), max_size=200),  # lone surrogates included
    st.binary(max_size=200),
    st.fractions(),
    st.decimals(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.sampled_from([np.float32(2), np.int8(3), np.True_, np.arange(3), torch.ones(2), object(), int, 10**5000]),
)


def outcome(check: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """What a check returns and no message, or nothing and its message."""
    try:
        return check(*arguments), ""
    except InputError as error:
        return None, str(error)


@given(ANYTHING)
def test_a_whole_number_is_itself_or_named(value: Any) -> None:
    number, message = outcome(check_whole, value, "cv", 2, 127)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value in range(2, 128):
        assert type(number) is int
        assert number == value
    else:
        assert message.startswith("cv is ")
        assert message.endswith(": use a whole number from 2 to 127")
        assert len(message) < 120


@given(ANYTHING)
def test_a_number_is_itself_or_named(value: Any) -> None:
    number, message = outcome(check_number, value, "fdr", lambda rate: 0 < rate < 1, "a rate between 0 and 1")
    if isinstance(value, (float, Fraction, np.floating)) and 0 < float(value) < 1:
        assert type(number) is float
        assert number == float(value)
    else:
        assert message.startswith("fdr is ")
        assert message.endswith(": use a rate between 0 and 1")


@given(ANYTHING)
def test_true_and_false_and_nothing_else(value: Any) -> None:
    if isinstance(value, (bool, np.bool_)):
        assert check_flag(value, "whiten") is bool(value)
    else:
        with pytest.raises(InputError, match=r"^whiten is .*use True or False"):
            check_flag(value, "whiten")


@given(ANYTHING)
def test_one_of_several_names(value: Any) -> None:
    with pytest.raises(BackendError, match=r"^backend is .*use one of auto, numba"):
        check_name(value, "backend", ["auto", "numba"], BackendError)
    assert check_name("numba", "backend", ["auto", "numba"]) == "numba"


@pytest.mark.parametrize("seed", [0, 2**63 - 1, np.int64(5), np.uint64(2**63 - 1)])
def test_a_seed_is_one_that_torch_and_numpy_take(seed: Any) -> None:
    number = check_seed(seed)
    assert number == seed
    torch.Generator().manual_seed(number)
    np.random.default_rng(number)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70, None, "a", 1.5, 7.0, True, float("nan"), float("inf"), [1]])
def test_no_seed(seed: Any) -> None:
    with pytest.raises(InputError, match=r"^random_state is .*: use a whole number from 0 to 2\*\*63 - 1$"):
        check_seed(seed, "random_state")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("no", "'no'"),
        (np.float64(0.5), "0.5"),
        ("\udc80", r"'\udc80'"),
        ("x" * 100, "'" + "x" * 59 + "…"),
        (np.str_("x"), "'x'"),
        ((1, "a"), "(1, 'a')"),
        ([[1]], "a list"),
        (torch.ones(3), "a Tensor"),
        (object(), "an object"),
    ],
)
def test_a_value_in_an_error(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_number_that_python_does_not_print() -> None:
    assert shown(10**5000) == "a number of 16610 bits"
    with pytest.raises(InputError, match="seed is a number of 16610 bits"):
        check_seed(10**5000)
