"""The same on other answers and samples: permuted, and on random halves.

What is found of a class does not depend on the classes around it: what is drawn of it is its own. Everything stays on
the batch's device.
"""

from __future__ import annotations

import torch

from fdgpu.arrays import to_host
from fdgpu.directions.batch import SCORE_ROUNDING, ClassBatch
from fdgpu.directions.labellings import Classes, Tensor, halves
from fdgpu.progress import Reporter, silent

TESTING = "permute right and wrong"  # the stage that progress is reported of
ROUND = 50  # permutations between two looks at which classes are settled; more where many were drawn before
ROUND_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # of the permutations of one round
RESAMPLED_LABELS = 1 << 24  # labels of one round, whose duals take 128 MB


def permutation_test(
    batch: ClassBatch,
    observed: Tensor,
    seed: int,
    draws: range,
    stop_after: int,
    exceeded: Tensor | None = None,
    progress: Reporter = silent,
) -> tuple[Tensor, Tensor]:
    """Permute correctness within each class, repeat the choice of C, and count scores at least as high.

    The score of a labelling is the best over C of its mean balanced accuracy over the folds that hold both kinds out
    and train on both. It is a function of the labelling alone, which makes the test exact; where no fold does, it is
    lower than any other. With ``stop_after`` a class stops at so many, and the host looks once a round which classes
    have; without, it has no need to. See :mod:`fdgpu.directions.testing` for the p-values.

    Args:
        batch: K classes.
        observed: (K,) their best scores.
        seed: of the permutations.
        draws: numbers of the permutations, from the first that is left to draw.
        stop_after: h, or 0 to draw all.
        exceeded: (K,) null scores at least as high among the permutations before ``draws``; by default none.
        progress: is told after every round how many permutations a class was given.

    Returns:
        null scores at least as high (K,), and how many permutations were drawn (K,), all those before included.
    """
    layout, k = batch.layout, len(batch.layout.sizes)
    observed = observed.nan_to_num(-torch.inf)
    exceeded = torch.zeros(k, dtype=torch.int64, device=layout.device) if exceeded is None else exceeded
    drawn = torch.full_like(exceeded, draws.start)
    kind = "cpu" if layout.device.type == "cpu" else "cuda"
    most = max(1, ROUND_BYTES[kind] // batch.permutation_bytes)
    active, done = list(range(k)), draws.start
    while done < draws.stop and active:
        count = min(max(ROUND, done // 4), most, draws.stop - done)
        null = batch.null_statistics(seed, done, count, active)
        so_far = exceeded + (null >= observed - SCORE_ROUNDING).cumsum(dim=0)  # (count, K)
        if stop_after:
            open_ = exceeded < stop_after
            before = (so_far < stop_after).sum(dim=0)  # permutations before the one that settles it
            used = (before + 1).clamp(max=count)
            exceeded = torch.where(open_, so_far.gather(0, used[None] - 1)[0], exceeded)
            drawn = torch.where(open_, drawn + used, drawn)
            still = to_host(exceeded < stop_after, "which classes' permutations are settled")
            active = [i for i in active if still[i]]
        else:
            exceeded, drawn = so_far[-1], drawn + count
        done += count
        progress(TESTING, done, draws.stop)
    return exceeded, drawn


def resampled_directions(
    batch: ClassBatch, labels: Tensor, C_index: Tensor, seed: int, n_resamples: int, classes: Classes = None
) -> Tensor:
    """Fit random halves of every labelling: how much a direction varies with its samples.

    Half-sampling is the subsampling form of the bootstrap (Politis, Romano and Wolf, *Subsampling*, 1999): a mean over
    half of n samples, drawn without replacement, varies around the mean over all of them by σ²/(n/2)·(1 - 1/2) = σ²/n,
    just as much as that varies around the truth. It needs no multiplicities, which a solver of labels does not know: a
    resample is a labelling in which the other half takes no part, so that all resamples of all classes are one call.

    Right and wrong are drawn apart, at the C that was chosen (with two folds, it was chosen on halves). Every failure
    mode is resampled among all right answers and its own errors.

    Args:
        batch: K classes.
        labels: (r, N) label matrix, a labelling for each direction.
        C_index: (r, K) C of each.
        seed: of the halves.
        n_resamples: B.
        classes: those of interest; what stands elsewhere has no meaning.

    Returns:
        (K, r, B, d) w, float32.
    """
    r, n = labels.shape
    per_round = max(1, min(n_resamples, RESAMPLED_LABELS // max(1, r * n)))
    rounds = []
    for done in range(0, n_resamples, per_round):
        count = min(per_round, n_resamples - done)
        rounds.append(batch.refit(halves(batch.layout, labels, seed, done, count, classes), C_index, classes))
    return torch.cat(rounds, dim=1).permute(2, 0, 1, 3)
