"""fdgpu's side: one problem, with its arrays where the backend computes."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.speed.data import Problem
from fdgpu import FailureDirections


def device_of(backend: str) -> torch.device:
    """Return where a backend computes."""
    return torch.device("cuda" if backend == "triton" else "cpu")


class Fitting:
    """Fits of one problem, from arrays on the device to arrays on the device.

    Rows are unit vectors, and both sides get them as they are (``whiten=False``): the solvers are compared.
    """

    def __init__(self, problem: Problem, backend: str, **settings: Any) -> None:
        self.estimator = FailureDirections(backend=backend, **{"whiten": False, **settings})
        self.device = device_of(backend)
        arrays = (problem.x, problem.labels, problem.right)
        self._arrays = tuple(torch.from_numpy(array).to(self.device) for array in arrays)
        self.classes = len(problem.sizes)

    def __call__(self) -> tuple[torch.Tensor, ...]:
        """Fit, and read what was found: w, b, C and score of every class, on the device."""
        fit = self.estimator.fit(*self._arrays)
        return fit.coef_, fit.intercept_, fit.C_, fit.cv_score_
