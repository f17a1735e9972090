"""Where the truth is known: how well the audit found a minority that somebody planted or annotated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fdgpu.checks import check_kind, shown
from fdgpu.errors import InputError
from fdgpu.findings import Curve, CurveRole, PlantedTruth, ScoredCaption

TOP = 100  # images that the single figure of a class speaks of
POINTS = 60  # of a curve: as many as a chart can show
FIRST = 5  # images of its first point


@dataclass(frozen=True)
class Planted:
    """What is known of one class.

    Attributes:
        attribute: what the classes were correlated with, such as "colour".
        easy, hard: its values for the majority and the minority of the training images.
        phrase: words that a caption must contain to name the hard value.
        minority: (n,) bool over all images of the audit, True for images of this class that show ``hard``.
    """

    attribute: str
    easy: str
    hard: str
    phrase: str
    minority: NDArray[np.bool_]


def check_planted(planted: Mapping[str, Planted], class_names: Sequence[str], n: int) -> None:
    """Check what is known of classes against an audit's class names and its ``n`` images.

    Raises:
        InputError: for a class that there is not, or anything but a :class:`Planted` of ``n`` images.
    """
    check_kind(planted, "planted", isinstance(planted, Mapping), "a mapping of class name to Planted")
    for name, one in planted.items():
        check_kind(one, f"planted of {shown(name)}", isinstance(one, Planted), "a Planted")
        if name not in class_names:
            raise InputError(
                f"planted names {shown(name)}, which is not one of the {len(class_names)} classes: correct it"
            )
        minority = one.minority
        check_kind(
            minority,
            f"minority of {shown(name)}",
            isinstance(minority, np.ndarray) and minority.shape == (n,) and minority.dtype == bool,
            f"({n},) bool, one an image",
        )


def compare_with_planted(
    planted: Planted,
    rows: NDArray[np.int64],
    decisions: NDArray[np.float64],
    by_confidence: NDArray[np.int64] | None,
    hard_captions: Sequence[ScoredCaption],
) -> PlantedTruth:
    """Compare the audit of one class with what is known (paper, figure 2).

    Args:
        planted: what is known.
        rows: (m,) the class's shown images, as rows of the audit.
        decisions: (m,) their decision values.
        by_confidence: (m,) their order by confidence, or None.
        hard_captions: the hardest first.
    """
    minority = planted.minority[rows]
    top = min(TOP, len(rows))
    chance = float(minority.mean()) if len(rows) else float("nan")
    by_decision = np.argsort(decisions, kind="stable")
    curves = [running_share("decision value", CurveRole.DECISION_VALUE, minority[by_decision])]
    if by_confidence is not None:
        curves.append(running_share("confidence", CurveRole.CONFIDENCE, minority[by_confidence]))
    curves.append(Curve("chance", CurveRole.CHANCE, curves[0].k, (chance,) * len(curves[0].k)))
    named_at = next((i for i, one in enumerate(hard_captions, 1) if planted.phrase in one.caption), None)
    return PlantedTruth(
        attribute=planted.attribute,
        easy=planted.easy,
        hard=planted.hard,
        named_at=named_at,
        shares=tuple(curves),
        top=top,
        share_by_decision=float(minority[by_decision[:top]].mean()) if top else float("nan"),
        share_by_confidence=float("nan") if by_confidence is None else float(minority[by_confidence[:top]].mean()),
        share_by_chance=chance,
        named_but_withheld=named_at is not None and hard_captions[named_at - 1].withheld,
    )


def running_share(name: str, role: CurveRole, flags: NDArray[np.bool_]) -> Curve:
    """Return the share of True among the first K of ``flags``, for up to :data:`POINTS` values of K."""
    ks = k_grid(len(flags))
    shares = np.cumsum(flags) / np.arange(1, len(flags) + 1)
    return Curve(name, role, tuple(ks), tuple(float(shares[k - 1]) for k in ks))


def k_grid(n: int, points: int = POINTS) -> list[int]:
    """Return at most ``points`` whole numbers from :data:`FIRST` to ``n``, evenly spread."""
    if n == 0:
        return []
    return sorted({round(float(k)) for k in np.linspace(min(FIRST, n), n, points)})
