"""One safetensors file for a fit: arrays as tensors, settings as JSON in the header. Never a pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fdgpu.directions.whitening import Whitening
from fdgpu.errors import InputError
from fdgpu.files import write_atomically
from fdgpu.version import __version__

if TYPE_CHECKING:
    from fdgpu.directions.estimator import FailureDirections

ARRAYS = (
    "classes", "coef", "intercept", "C", "cv_score", "cv_scores", "p_value", "q_value", "converged", "n_iter", "n",
    "n_errors", "n_directions", "n_errors_of", "n_permutations", "nested_score",
)  # fmt: skip
PARAMETERS = (
    "Cs", "cv", "whiten", "tol", "n_directions", "n_permutations", "fdr", "backend", "random_state", "max_iter",
    "stop_after", "nested", "n_resamples",
)  # fmt: skip
FORMAT = "fdgpu.FailureDirections/2"


def save(fit: FailureDirections, path: Path) -> None:
    """Write a fit; the file appears whole or not at all."""
    arrays = {name: np.ascontiguousarray(getattr(fit, f"_{name}")) for name in ARRAYS}
    arrays |= {"whitening_mean": fit._whitening.mean, "whitening_scale": fit._whitening.scale}
    header = {
        "format": FORMAT,
        "fdgpu": __version__,
        "parameters": json.dumps({name: getattr(fit, name) for name in PARAMETERS}),
        "status": json.dumps(fit.status_),
        "solver": json.dumps(fit.solver_),
        "backend": json.dumps([fit.backend_, fit.backend_reason_]),
    }
    write_atomically(path, to_bytes(arrays, metadata=header))


def load(kind: type[FailureDirections], path: Path) -> FailureDirections:
    """Read a fit.

    Raises:
        InputError: if the file is missing, damaged, or something else.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: pass a file that FailureDirections.save wrote")
    try:
        with safe_open(path, framework="numpy") as stored:
            header = stored.metadata() or {}
            if header.get("format") != FORMAT:
                raise InputError(f"{path} is a safetensors file, but not of a fit ({FORMAT} was expected)")
            arrays = {name: stored.get_tensor(name) for name in (*ARRAYS, "whitening_mean", "whitening_scale")}
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or not a safetensors file ({error}): save the fit again") from None
    parameters = json.loads(header["parameters"])
    fit = kind(**{**parameters, "backend": "auto"})  # the machine that reads need not have the backend that fitted
    fit.backend = parameters["backend"]
    for name in ARRAYS:
        setattr(fit, f"_{name}", arrays[name])
    fit._whitening = Whitening(arrays["whitening_mean"], arrays["whitening_scale"])
    fit.solver_ = json.loads(header["solver"])
    fit.status_ = json.loads(header["status"])
    fit.backend_, fit.backend_reason_ = json.loads(header["backend"])
    return fit
