"""Losses, one number an example, so that examples can be weighed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from fdgpu.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return (n,) from scores (n, k) and classes (n,).

    Raises:
        InputError: for targets (n, k), several labels an image.
    """
    _check_classes(targets)
    return F.cross_entropy(scores, targets, reduction="none")


def binary_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return (n,), the mean over labels, from scores (n, k) and targets (n, k) of 0 and 1 (ChestX-ray14, A.3).

    Raises:
        InputError: for targets of another shape.
    """
    if targets.shape != scores.shape:
        raise InputError(
            f"labels has the shape {tuple(targets.shape)}, the model's scores {tuple(scores.shape)}: "
            "binary_cross_entropy takes a 0 or 1 for each score; for one class an image use cross_entropy"
        )
    return F.binary_cross_entropy_with_logits(scores, targets, reduction="none").mean(dim=1)


@dataclass(frozen=True)
class GeneralisedCrossEntropy:
    """(1 - p_y^q) / q, which listens to what a model already believes (Learning from Failure; paper, B.1.5).

    Its gradient is cross-entropy's times p_y^q: hard examples hardly pull, and the model stays biased. q → 0 is
    cross-entropy, q = 1 the absolute error.
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.q <= 1:
            raise InputError(f"q is {self.q}: use a number above 0 and at most 1; Learning from Failure takes 0.7")

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return (n,) from scores (n, k) and classes (n,).

        Raises:
            InputError: for targets (n, k), several labels an image.
        """
        _check_classes(targets)
        log_p = scores.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
        return -(self.q * log_p).expm1() / self.q


def _check_classes(targets: Tensor) -> None:
    if targets.ndim != 1:
        raise InputError(
            f"labels has the shape {tuple(targets.shape)}, the loss takes one class an image, (n,): for several labels "
            "an image use binary_cross_entropy"
        )
