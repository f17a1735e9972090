"""By which method an audit fits, and why; and the loss that the latent method listens to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fdgpu.auditing.inputs import AuditInputs, contradiction, loss_of
from fdgpu.checks import check_name
from fdgpu.device import Backend
from fdgpu.directions.estimator import FailureDirections
from fdgpu.directions.parameters import LATENT_COSTS, PAPER_COSTS, Method, SolverSettings
from fdgpu.errors import InputError

UNKNOWN = "the probability of the true class is not known"


@dataclass(frozen=True)
class Chosen:
    """The method of a fit, and why it; ``loss`` (N,) of every sample, None where it knows right and wrong alone."""

    method: str
    reason: str
    loss: NDArray[np.float64] | None = None

    def of(self, fit: FailureDirections) -> FailureDirections:
        """Return the estimator with this method, and its grid where no other was given: the same where it has it."""
        settings = fit.solver_settings
        if settings.method == self.method:
            return fit
        grid = PAPER_COSTS if settings.Cs == LATENT_COSTS else settings.Cs  # of which the latent method makes its own
        return FailureDirections.from_settings(replace(settings, method=self.method, Cs=grid), fit.search_settings)


def check_method(method: object, directions: FailureDirections | None) -> str | None:
    """Return what ``audit`` was asked for.

    Raises:
        InputError: for what is no method, or another one than that of the estimator beside it.
    """
    if method is None:
        return None
    name = check_name(method, "method", ("auto", *Method))
    if directions is not None and name not in ("auto", directions.method):
        raise InputError(f"method is '{name}', and that of directions '{directions.method}': leave one of them out")
    return name


def choose_method(
    asked: str | None, directions: FailureDirections | None, inputs: AuditInputs, fitted: NDArray[np.bool_]
) -> Chosen:
    """Choose the method of an audit.

    Args:
        asked: "auto", or a method by name; None for that of ``directions``, and without any for "auto".
        directions: an estimator that was given.
        inputs: of the audit.
        fitted: (n,) the images that are fitted.

    Raises:
        InputError: if the latent method was asked for, and ``true_probability`` is not that of the true class.
    """
    settings = directions.solver_settings if directions else SolverSettings()
    loss, odd = None, ""
    if inputs.true_probability is not None:
        samples = inputs.of_samples(fitted) & (inputs.labels >= 0)
        confidence = None if inputs.confidence is None else inputs.confidence[samples]
        own = inputs.true_probability[samples], inputs.correct[samples], inputs.labels[samples]
        odd, loss = contradiction(*own, confidence), loss_of(inputs.true_probability)
    method: str
    if asked == "auto" or (asked is None and directions is None):
        method, reason = _automatic(settings, loss is not None, odd)
    else:
        method = settings.method if asked is None else asked
        reason = "that of the directions that were given" if asked is None else "asked for by name"
    if method == Method.SVM:
        return Chosen(method, reason)
    if odd:
        raise InputError(odd)
    return Chosen(method, reason if loss is not None else f"{reason}; {UNKNOWN}, but right and wrong are", loss)


def _automatic(settings: SolverSettings, known: bool, odd: str) -> tuple[Method, str]:
    """Return what "auto" takes, and why."""
    if settings.published:
        return Method.SVM, "auto: that of the published code"
    if settings.backend not in (Backend.AUTO, Backend.TORCH):
        return Method.SVM, f"auto: that of the backend {settings.backend}"
    if not known or odd:
        return Method.SVM, f"auto: {'true_probability contradicts the predictions' if odd else UNKNOWN}"
    return Method.LATENT, "auto: the probability of the true class is known"
