"""Two records of settings, and the flat signature that builds them."""

from __future__ import annotations

import copy
import inspect
import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.device import Backend
from fdgpu.directions import SearchSettings, SolverSettings
from fdgpu.errors import BackendError, InputError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Cs": []}, "Cs is empty"),
        ({"Cs": [0.0, 1.0]}, "greater than 0"),
        ({"Cs": [-1.0]}, "greater than 0"),
        ({"Cs": [np.inf]}, "Cs is inf: use numbers greater than 0, from 1e-12 to 1e\\+12"),
        ({"Cs": [1e300]}, r"Cs is 1e\+300"),
        ({"Cs": "123"}, "Cs is '123': pass a sequence of numbers"),
        ({"Cs": ["1"]}, "Cs is '1'"),
        ({"Cs": np.eye(2)}, "Cs is a ndarray"),
        ({"Cs": range(10**9)}, "Cs has 1000000000 entries"),
        ({"cv": 1}, "cv is 1: use a whole number from 2 to 127"),
        ({"cv": "2"}, "cv is '2'"),
        ({"cv": True}, "cv is True"),
        ({"cv": 128}, "cv is 128"),
        ({"whiten": "no"}, "whiten is 'no': use True or False"),
        ({"nested": 1}, "nested is 1: use True or False"),
        ({"tol": np.inf}, "tol is inf"),
        ({"tol": "0.1"}, "tol is '0.1'"),
        ({"fdr": np.nan}, "fdr is nan"),
        ({"n_permutations": 10**10}, "n_permutations is 10000000000"),
        ({"n_permutations": True}, "n_permutations is True"),
        ({"n_resamples": 1}, "n_resamples is 1"),
        ({"n_resamples": 10**6}, "n_resamples is 1000000: use a whole number from 0 to 10000, 0 for none"),
        ({"max_iter": 1e99}, r"max_iter is 1e\+99"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": 2**70}, "random_state is 1180591620717411303424"),
        ({"random_state": None}, "random_state is None"),
        ({"random_state": "a"}, "random_state is 'a'"),
        ({"cv": 2.5}, "whole number"),
        ({"Cs": 1.0}, "sequence of numbers"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"fdr": 1.5}, "fdr is 1.5"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"n_directions": 0}, "from 1 to 6"),
        ({"n_directions": 1.5}, "from 1 to 6"),
        ({"n_permutations": -1}, "n_permutations is -1"),
        ({"stop_after": 0.5}, "stop_after is 0.5"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    estimator = FailureDirections(**settings)  # which is checked when it fits, as scikit-learn has it
    with pytest.raises(InputError, match=message):
        estimator.check()
    with pytest.raises(InputError, match=message):
        estimator.fit([[1.0]], [0], [True])
    record = SolverSettings if set(settings) <= {one.name for one in fields(SolverSettings)} else SearchSettings
    with pytest.raises(InputError, match=message):
        record(**settings)


@pytest.mark.parametrize("backend", ["triton", "cuml", "magic", 3, None, ["numba"]])
def test_a_backend_asked_for_by_name_runs_or_raises(backend: Any) -> None:
    named = f"'{backend}'" if isinstance(backend, str) else f"backend is {backend!r}: use one of auto, numba"
    with pytest.raises(BackendError, match=re.escape(named)):
        FailureDirections(backend=backend).check()


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_a_whole_number_may_be_of_any_integer_type(value: Any) -> None:
    made = FailureDirections(cv=value, n_permutations=value, Cs=np.array([value]))
    solver, search = made.solver_settings, made.search_settings
    assert (solver.cv, search.n_permutations, solver.Cs) == (3, 3, (3.0,))


def test_the_signature_has_every_setting_with_its_default() -> None:
    signature = inspect.signature(FailureDirections).parameters
    settings = [*fields(SolverSettings), *fields(SearchSettings)]
    assert {name: parameter.default for name, parameter in signature.items()} == {
        one.name: one.default for one in settings
    }
    assert list(signature)[:4] == ["Cs", "cv", "whiten", "tol"]
    made = FailureDirections()
    for one in settings:
        assert getattr(made, one.name) == one.default
        assert f"{one.name}: " in FailureDirections.__doc__


def test_every_parameter_reaches_its_record() -> None:
    given: dict[str, Any] = {
        "Cs": (0.5, 2.0), "cv": 3, "whiten": False, "tol": 1e-2, "n_directions": 4, "n_permutations": 5, "fdr": 0.2,
        "backend": "numba", "random_state": 6, "max_iter": 7, "stop_after": 8, "nested": True, "n_resamples": 9,
        "min_errors": 10, "published": True, "method": "svm",
    }  # fmt: skip
    made = FailureDirections(**given)
    assert {name: getattr(made, name) for name in given} == given
    assert vars(made.solver_settings) | vars(made.search_settings) == given


def test_an_estimator_of_records() -> None:
    one = FailureDirections(Cs=[1.0, 0.1], n_directions=2, cv=3)
    other = FailureDirections.from_settings(replace(one.solver_settings, whiten=False), one.search_settings)
    assert (other.Cs, other.cv, other.whiten, other.n_directions) == ((0.1, 1.0), 3, False, 2)
    assert FailureDirections.from_settings(one.solver_settings).n_directions == 1
    with pytest.raises(BackendError, match="magic"):
        replace(one.solver_settings, backend="magic")


def test_settings_are_of_plain_types_and_records_are_set_once() -> None:
    made = FailureDirections(cv=np.int64(3), tol=np.float32(0.5), nested=np.True_, random_state=np.int64(2))
    solver, search = made.solver_settings, made.search_settings
    plain = [type(value) for value in (solver.cv, solver.tol, search.nested, search.random_state)]
    assert plain == [int, float, bool, int]
    with pytest.raises(FrozenInstanceError):
        made.solver_settings.cv = 4  # type: ignore[misc]
    assert copy.deepcopy(made).cv == 3


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 130), st.floats(), st.floats(0, 2), st.text(max_size=9),
    st.binary(max_size=9), st.lists(st.floats(1e-13, 1e13) | st.integers(-1, 3), max_size=4), st.complex_numbers(),
    st.sampled_from([*Backend, "gpu", 2**63, 10**400, np.float32(0.1), np.int16(3), np.True_, np.arange(3.0), object(),
                     torch.ones(2), {1.0: 2.0}, {0.1, 1.0}, range(1, 4), int, print, float("nan"), (1, (2,))]),
)  # fmt: skip


def expected_of(name: str, value: Any) -> Any:
    """What a setting becomes, said once more and plainly; ``...`` where it has to be refused."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    number = float(value) if isinstance(value, (float, np.floating)) or (whole and abs(int(value)) < 2**1000) else None
    bounds = {
        "cv": (2, 127), "max_iter": (1, 2**63 - 1), "n_directions": (1, 6), "n_permutations": (0, 10**9),
        "stop_after": (0, 10**9), "n_resamples": (0, 10**4), "random_state": (0, 2**63 - 1),
        "min_errors": (0, 2**63 - 1),
    }  # fmt: skip
    if name in bounds:
        least, most = bounds[name]
        return int(value) if whole and least <= value <= most and (name, value) != ("n_resamples", 1) else ...
    if name in ("whiten", "nested", "published"):
        return bool(value) if isinstance(value, (bool, np.bool_)) else ...
    if name == "backend":
        return value if isinstance(value, str) and value in ("auto", "numba", "triton", "cuml") else ...
    if name == "method":
        return value if isinstance(value, str) and value in ("svm", "latent") else ...
    if name in ("tol", "fdr"):
        most = 1 if name == "fdr" else float("inf")
        return number if number is not None and 0 < number < most else ...
    if isinstance(value, (list, set, range, np.ndarray, torch.Tensor)) and len(value):
        numbers = [expected_of("tol", one) for one in (value.tolist() if hasattr(value, "tolist") else value)]
        if all(one is not ... and 1e-12 <= one <= 1e12 for one in numbers):
            return tuple(sorted(set(numbers)))
    return ...


@settings(max_examples=600, derandomize=True)
@given(st.data())
def test_a_setting_is_taken_as_it_is_or_refused_by_its_name(data: st.DataObject) -> None:
    record = data.draw(st.sampled_from([SolverSettings, SearchSettings]))
    name = data.draw(st.sampled_from([one.name for one in fields(record)]))
    value = data.draw(ANYTHING)
    expected = expected_of(name, value)
    if expected is ...:
        with pytest.raises((InputError, BackendError), match=f"^{name} "):
            record(**{name: value})
    else:
        taken = getattr(record(**{name: value}), name)
        assert taken == expected
        assert type(taken) is type(expected)
