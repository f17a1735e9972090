"""What decision values say of a class: examples, distribution, and whether its captions hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.auditing.curves import running_share
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.truth import hardest_by_confidence
from fdgpu.findings import Curve, CurveRole, Example, Histogram

EXAMPLES = 10  # images of each kind that the page shows of a failure mode
BINS = 30


@dataclass(frozen=True)
class AuditedImages:
    """Every image of the audit after the fit, n rows.

    ``vectors`` (n, d) are NaN where an image was skipped, ``decisions`` (n, r) also where its class has no such
    direction; ``shown`` (n,) marks the images that examples and figures come from.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    decisions: NDArray[np.float64]
    shown: NDArray[np.bool_]


@dataclass(frozen=True)
class Shown:
    """The images of one class that its examples and figures come from: m rows of the audit.

    ``decisions`` (m,) are those of one direction of the class.
    """

    rows: NDArray[np.int64]
    decisions: NDArray[np.float64]
    correct: NDArray[np.bool_]
    by_confidence: NDArray[np.int64] | None

    @classmethod
    def of(cls, rows: NDArray[np.int64], decisions: NDArray[np.float64], inputs: AuditInputs) -> Shown:
        """Gather one class's images."""
        correct = inputs.correct[rows]
        confidence = inputs.confidence
        order = None if confidence is None else hardest_by_confidence(correct, confidence[rows])
        return cls(rows, decisions, correct, order)

    def hardest(self, count: int = EXAMPLES) -> NDArray[np.int64]:
        """Return rows of the audit, the most negative decision value first."""
        return self.rows[np.argsort(self.decisions, kind="stable")[:count]]

    def easiest(self, count: int = EXAMPLES) -> NDArray[np.int64]:
        """Return rows of the audit, the most positive decision value first."""
        return self.rows[np.argsort(-self.decisions, kind="stable")[:count]]

    def least_sure(self, count: int = EXAMPLES) -> NDArray[np.int64]:
        """Return the rows that the model's own confidence would have called hardest; none without confidences."""
        return self.rows[:0] if self.by_confidence is None else self.rows[self.by_confidence[:count]]

    def histogram(self) -> Histogram | None:
        """Count decision values of right and wrong images in common bins; None without images."""
        if not len(self.rows):
            return None
        low, high = float(self.decisions.min()), float(self.decisions.max())
        margin = max(0.0, 1e-6 * max(abs(low), abs(high), 1e-12) - (high - low))  # equal but for rounding
        edges = np.linspace(low - margin, high + margin, BINS + 1)
        right, _ = np.histogram(self.decisions[self.correct], edges)
        wrong, _ = np.histogram(self.decisions[~self.correct], edges)
        return Histogram(tuple(edges.tolist()), tuple(right.tolist()), tuple(wrong.tolist()))

    def nearest_first(self, similarity: NDArray[Any]) -> NDArray[np.bool_]:
        """Return (m,) whether the model was right, the image nearest to a caption first."""
        return np.asarray(self.correct[np.argsort(-similarity, kind="stable")])

    def nearest_accuracy(self, name: str, role: CurveRole, similarity: NDArray[Any]) -> Curve:
        """Return the accuracy of the K images nearest to a caption (paper, figure 7b)."""
        return running_share(name, role, self.nearest_first(similarity))


def examples(
    rows: NDArray[np.int64], images: AuditedImages, inputs: AuditInputs, direction: int = 0
) -> tuple[Example, ...]:
    """Describe images for the page, with their decision values along one direction of their class."""
    return tuple(
        Example(
            path=images.ids[row],
            correct=bool(inputs.labels[row] == inputs.predictions[row]),
            prediction=inputs.class_names[inputs.predictions[row]],
            decision=float(images.decisions[row, direction]),
            confidence=None if inputs.confidence is None else float(inputs.confidence[row]),
        )
        for row in rows.tolist()
    )
