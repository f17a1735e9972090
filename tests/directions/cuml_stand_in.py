"""Stand-ins for cuML and CuPy, so that the backend's own part runs where there is no GPU.

``SVC`` has cuML's names, shapes, types and habits on scikit-learn's solver: it wants column-major rows, refuses what
cuML refuses, lists support vectors as they stand in the rows, rounds alphas to the rows' precision and leaves some of
them an ulp short of their bound, and it stops on its bound of steps without a word. Its intercept is NaN, because the
backend has a rule of its own and must not read it. All of it was read from the wheels of 25.10, 25.12, 26.2 and 26.10.
"""

from __future__ import annotations

import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC as LibsvmSVC  # noqa: N811 - there are two of this name here

FITS: list[SVC] = []  # of the test that runs, in order


class SVC:
    """cuML's, for two classes and dense rows; it takes the parameters that every version from 25.10 on has."""

    def __init__(
        self,
        *,
        C: float = 1.0,
        kernel: str = "rbf",
        gamma: str | float = "scale",
        tol: float = 1e-3,
        max_iter: int = -1,
        nochange_steps: int = 1000,
        output_type: str | None = None,
    ) -> None:
        assert (kernel, output_type) == ("linear", "cupy")
        # C's doubles: a number on the device would be waited for; so would the rows' variance, for a gamma by name
        assert type(C) is type(tol) is type(gamma) is float
        assert type(max_iter) is int
        if not -(2**31) <= max_iter < 2**31:
            raise OverflowError("value too large to convert to int")
        self.C, self.gamma, self.tol, self.max_iter, self.nochange_steps = C, gamma, tol, max_iter, nochange_steps

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> SVC:
        assert X.dtype in (np.float32, np.float64)  # cuML would convert anything else
        assert X.dtype == y.dtype == sample_weight.dtype
        assert X.flags.f_contiguous  # cuML would copy anything else
        check_as_cuml(X, y, sample_weight)
        solver = LibsvmSVC(kernel="linear", C=self.C, tol=self.tol, max_iter=self.max_iter)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            solver.fit(X.astype(np.float64), y, sample_weight=self.weights(sample_weight))
        ascending = np.argsort(solver.support_)  # libsvm lists them class by class
        support = solver.support_[ascending]
        bound = X.dtype.type(self.C) * sample_weight[support]
        dual = solver.dual_coef_[0, ascending].astype(X.dtype)
        at_bound = np.abs(dual) >= bound * (1 - 4 * np.finfo(X.dtype).eps)
        short = at_bound & (np.arange(len(dual)) % 3 == 0)
        dual = np.where(short, np.sign(dual) * np.nextafter(bound, 0, dtype=X.dtype), dual)
        self.support_ = support.astype(np.int32)
        self.dual_coef_ = np.asfortranarray(self.duals(dual.astype(X.dtype)[None]))
        self.intercept_ = np.full(1, np.nan, X.dtype)
        self.n_support_ = len(self.support_)
        self.n_iter_ = solver.n_iter_.astype(np.int32)
        self.shape_fit_, self.fit_status_ = X.shape, 0
        FITS.append(self)
        return self

    def weights(self, sample_weight: np.ndarray) -> np.ndarray:
        return sample_weight

    def duals(self, dual: np.ndarray) -> np.ndarray:
        return dual


def check_as_cuml(X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> None:
    """Refuse what cuML refuses, with its errors."""
    if X.ndim != 2 or len(X) < 2:
        raise ValueError(f"Found array with shape {X.shape} while a minimum of 2 samples is required")
    if not (len(X) == len(y) == len(sample_weight)):
        raise ValueError("Found input variables with inconsistent numbers of samples")
    if y.ndim != 1 or sample_weight.ndim != 1:
        raise ValueError("y and sample weights must be 1D arrays")
    if not all(np.isfinite(array).all() for array in (X, y, sample_weight)):
        raise ValueError("Input contains NaN or infinity")
    if (y != np.round(y)).any():
        raise ValueError("Unknown label type: continuous")
    if not sample_weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number")
    if len(np.unique(y)) != 2:
        raise ValueError("needs samples of 2 classes")


def stand_in(monkeypatch: pytest.MonkeyPatch, estimator: type[SVC] = SVC) -> list[SVC]:
    """Put the stand-ins where ``import`` finds them; returns the list that every fit is added to."""
    FITS.clear()
    cuml, svm, cupy = _module("cuml"), _module("cuml.svm", SVC=estimator), _module("cupy", from_dlpack=np.from_dlpack)
    for module in (cuml, svm, cupy):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return FITS


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(content)
    return module
