"""The estimator in scikit-learn's hands: parameters, clones, pipelines, and the checks of estimators that apply."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.exceptions
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from fdgpu import FailureDirections
from fdgpu.errors import InputError, NotFittedError, not_fitted
from tests.conftest import make_class

API = Path(__file__).parents[2] / "docs" / "api.md"
OWN_WORDS = "the error is ours, in other words"
NOT_APPLICABLE = {
    "check_complex_data": OWN_WORDS,
    "check_dtype_object": OWN_WORDS,
    "check_estimators_empty_data_messages": OWN_WORDS,
    "check_fit2d_1sample": OWN_WORDS,
    "check_fit2d_predict1d": OWN_WORDS,
    "check_n_features_in_after_fitting": OWN_WORDS,
    "check_transformer_n_iter": "every class, fold and C has iterations of its own",
}


def n_rows(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(np.asarray(X))


class WithAnswers(FailureDirections):
    """The checks know X and y alone: one class, of which the model gets every third sample wrong."""

    def fit(self, X: Any, y: Any, **others: Any) -> FailureDirections:  # type: ignore[override]  # noqa: ARG002
        n = n_rows(X)
        return super().fit(X, np.zeros(n, int), np.arange(n) % 3 > 0, **others)

    def fit_transform(self, X: Any, y: Any) -> Any:  # type: ignore[override]
        return self.fit(X, y).transform(X)

    def predict(self, X: Any) -> Any:  # type: ignore[override]
        return super().predict(X, np.zeros(n_rows(X), int))

    def decision_function(self, X: Any) -> Any:  # type: ignore[override]
        return super().decision_function(X, np.zeros(n_rows(X), int))


@pytest.mark.filterwarnings("ignore::UserWarning")  # estimators that do not inherit from scikit-learn's
def test_the_checks_of_estimators_pass_but_those_that_cannot_apply() -> None:
    found = check_estimator(WithAnswers(), on_fail=None, on_skip=None)
    failed = {one["check_name"] for one in found if one["status"] == "failed"}
    assert failed == set(NOT_APPLICABLE), [(one["check_name"], one["exception"]) for one in found]
    passed = {one["check_name"] for one in found if one["status"] == "passed"}
    assert {"check_no_attributes_set_in_init", "check_fit_idempotent", "check_estimators_nan_inf"} <= passed
    assert len(passed) >= 35
    for one in found:  # of which the words are ours, and the kinds of errors scikit-learn's
        if NOT_APPLICABLE.get(one["check_name"]) == OWN_WORDS:
            assert isinstance(one["exception"], (AssertionError, InputError))


def test_the_checks_that_cannot_apply_are_documented() -> None:
    assert set(NOT_APPLICABLE) == set(re.findall(r"`(check_\w+)`", API.read_text(encoding="utf-8")))


ANY = st.sampled_from([None, 3, "abacus", 1e9, (1.0,), [0.1, 2.0], True, np.int8(3), np.array([1.0])])


@given(st.dictionaries(st.sampled_from(sorted(FailureDirections().get_params())), ANY))
def test_a_clone_has_the_very_parameters_however_wrong(parameters: dict[str, Any]) -> None:
    made = FailureDirections(**parameters)
    assert all(made.get_params()[name] is value for name, value in parameters.items())
    assert FailureDirections().set_params(**parameters).get_params() | parameters == made.get_params() | parameters
    if not any(isinstance(value, np.ndarray) for value in parameters.values()):
        assert clone(made).get_params() == made.get_params()


def test_a_parameter_that_there_is_not() -> None:
    with pytest.raises(InputError, match="set_params got 'folds': the parameters are Cs, cv"):
        FailureDirections().set_params(cv=3, folds=3)
    made = FailureDirections(cv=3)
    with pytest.raises(InputError, match="folds"):
        made.set_params(cv=4, folds=3)
    assert made.cv == 3


def test_parameters_that_are_set_again_count_at_the_next_fit() -> None:
    data = make_class(60, 6, 0.3, 1.0, 0)
    labels = np.zeros(60, int)
    fit = FailureDirections().fit(data.x, labels, data.right)
    before = fit.coef_.copy()
    fit.set_params(whiten=False, n_directions=3, method="latent")
    assert (fit.coef_ == before).all()
    assert fit.predict(data.x, labels).shape == (60,)  # of the fit that there is
    with pytest.raises(InputError, match="direction is 1"):
        fit.decision_function(data.x, labels, direction=1)
    again = clone(fit).set_params(method="svm", n_directions=1).fit(data.x, labels, data.right)
    assert not np.allclose(again.coef_, before)


def test_a_step_of_a_pipeline_is_told_what_was_right() -> None:
    data = make_class(80, 8, 0.3, 1.0, 1)
    labels = np.arange(80) % 2
    steps = make_pipeline(FailureDirections(), PCA(2))
    steps.set_params(failuredirections__cv=3)
    plain = FailureDirections(cv=3).fit(data.x, labels, data.right)
    reduced = steps.fit_transform(data.x, labels, failuredirections__correct=data.right)
    assert np.allclose(reduced, PCA(2).fit_transform(plain.transform(data.x)), atol=1e-4)
    fitted = steps[0]
    assert (fitted.coef_ == plain.coef_).all()
    assert fitted.n_features_in_ == 8
    with pytest.raises(TypeError, match="correct"):
        steps.fit(data.x, labels)


def test_before_a_fit_the_error_is_scikit_learns_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = FailureDirections()
    with pytest.raises(sklearn.exceptions.NotFittedError) as caught:
        made.transform(np.eye(3))
    assert isinstance(caught.value, NotFittedError)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        check_is_fitted(made)
    with pytest.raises(NotFittedError, match="fitted is not there yet: call fit"):
        _ = made.fitted
    assert not hasattr(made, "n_features_in_")
    monkeypatch.delitem(sys.modules, "sklearn.exceptions")
    assert type(not_fitted("words")) is NotFittedError


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_fit_that_was_sent_to_another_process_is_the_same(kind: Any) -> None:
    data = make_class(40, 5, 0.3, 1.0, 2)
    fit = FailureDirections(cv=3).fit(kind(data.x), np.zeros(40, int), data.right)
    sent = pickle.loads(pickle.dumps(fit))  # noqa: S301 - our own
    assert type(sent.coef_) is type(fit.coef_)
    assert (sent.coef_ == fit.coef_).all()
    assert sent.get_params() == fit.get_params()
