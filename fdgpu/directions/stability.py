"""How firmly a direction stands: the same SVM on random halves of its samples.

Half-sampling is the subsampling form of the bootstrap (Politis, Romano and Wolf, *Subsampling*, 1999): a mean over
half of n samples, drawn without replacement, varies around the mean over all of them by σ²/(n/2)·(1 - 1/2) = σ²/n,
just as much as that varies around the truth. It needs no multiplicities, which a solver of labels does not know: a half
is a sheet of labels in which the other half takes no part, so that all halves of all classes are one call.

Right and wrong are halved apart, at the C that was chosen (with two folds, it was chosen on halves). Every mode is
halved among all right answers and its own errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.directions.batch import ClassBatch, Labels
from fdgpu.kernels.sheets_numba import draw_halves

# By which an audit trusts captions. On the bundled world 50 take twice the time and lose no fewer captions of planted
# failures; of 160 ends of classes with shuffled answers they let 3.7 % pass, and 20 let 6.2 %.
RESAMPLES = 20
ROUND_LABELS = 1 << 24  # labels of one round, whose duals take 128 MB


def resampled_directions(
    batch: ClassBatch,
    labels: Labels,
    places: NDArray[np.int64],
    seeds: Sequence[Sequence[int]],
    n_resamples: int,
    classes: Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Fit random halves of every sheet.

    Args:
        batch: K classes.
        labels: (r, N) sheets, one for each mode.
        places: (r, K) C of each.
        seeds: K seeds, so that a class's halves do not depend on the classes around it.
        n_resamples: B.
        classes: those of interest; zero elsewhere.

    Returns:
        (r, K, B, d) w.
    """
    layout, (r, n) = batch.layout, labels.shape
    chosen = range(len(layout.sizes)) if classes is None else classes
    # a stream for each mode: how many halves are drawn in one round must not change which
    streams = {(j, i): _stream(seeds[i], j) for j in range(r) for i in chosen}
    per_round = max(1, min(n_resamples, ROUND_LABELS // max(1, r * n)))
    rounds = []
    for done in range(0, n_resamples, per_round):
        count = min(per_round, n_resamples - done)
        halves = np.zeros((r, count, n), np.int8)
        for (j, i), generator in streams.items():
            rows = layout.rows(i)
            draw_halves(generator, labels[j, rows], halves[j, :, rows])
        fits = batch.fit(halves.reshape(r * count, n), np.repeat(places, count, axis=0), classes)
        rounds.append(batch.coef(fits).astype(np.float32).reshape(r, count, len(layout.sizes), -1))
    return np.concatenate(rounds, axis=1).swapaxes(1, 2)


def _stream(seed: Sequence[int], mode: int) -> Any:
    return np.random.default_rng((*seed, mode + 1))
