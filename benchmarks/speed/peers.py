"""The loop that people run today, class after class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC


def authors_loop(
    x: NDArray[np.float32], right: NDArray[np.bool_], costs: tuple[float, ...], cv: int
) -> tuple[NDArray[np.float64], dict[float, SVC]]:
    """Cross-validate and refit for every C, as the paper's published code does.

    Returns:
        (c,) mean balanced accuracies, and the refitted SVM of every C.
    """
    scores, refits = [], {}
    for cost in costs:
        svm = SVC(kernel="linear", class_weight="balanced", C=cost)
        scores.append(float(cross_val_score(svm, x, right, cv=cv, scoring="balanced_accuracy").mean()))
        refits[cost] = svm.fit(x, right)
    return np.array(scores), refits
