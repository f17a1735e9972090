"""The same SVM on other labellings: permuted, with a fold held out twice, and on random halves of the samples.

What is found of a class does not depend on the classes around it: what is drawn of it is its own. Everything stays on
the batch's device.
"""

from __future__ import annotations

import torch

from fdgpu.arrays import to_host
from fdgpu.directions.batch import SCORE_ROUNDING, ClassBatch, Classes, Tensor, choose_costs, mean_scores
from fdgpu.directions.labellings import halves, permuted_labels
from fdgpu.progress import Reporter, silent

TESTING = "permute right and wrong"  # the stage that progress is reported of
ROUND = 50  # permutations between two looks at which classes are settled; more where many were drawn before
ROUND_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # of the permutations of one round
PERMUTED_BYTES = {"cpu": 4, "cuda": 64}  # a label, with what it is drawn and its fold assigned with
SCORED_BYTES = 24  # a class, fold and C: the recall of both kinds, and their mean
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
    scored = SCORED_BYTES * k * batch.settings.cv * len(batch.settings.Cs)
    most = max(1, ROUND_BYTES[kind] // (PERMUTED_BYTES[kind] * len(layout.right) + scored))
    active, done = list(range(k)), draws.start
    while done < draws.stop and active:
        count = min(max(ROUND, done // 4), most, draws.stop - done)
        labels = permuted_labels(layout, seed, done, count, active)
        scores, _ = batch.cross_validate(labels, active)
        null = mean_scores(scores).amax(dim=-1).nan_to_num(-torch.inf)
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


def nested_scores(batch: ClassBatch) -> Tensor:
    """Hold out each fold, choose C by cross-validation on the others alone, fit them, and score the one held out.

    This is the score that choosing C has not made optimistic.

    Returns:
        (K,) mean balanced accuracy; NaN for a class with too few samples of a kind to cross-validate inside a fold.
    """
    layout, cv = batch.layout, batch.settings.cv
    outer = torch.arange(cv, device=layout.device)[:, None]
    is_held = batch.folds(layout.labels) == outer  # (cv, N)
    labels = torch.where(is_held, 0, layout.labels).to(torch.int8)
    fewest = torch.minimum(layout.count(labels > 0), layout.count(labels < 0)).amin(dim=0)
    scores, _ = batch.cross_validate(labels)
    C_index = torch.where(fewest >= cv, choose_costs(mean_scores(scores)), -1)
    hit = (batch.decide(batch.fit(labels, C_index)) > 0) == layout.right
    recalls = []
    for kind in (layout.right, ~layout.right):
        held = is_held & kind
        recalls.append(layout.count(hit & held).double() / layout.count(held))
    return torch.where(fewest >= cv, torch.stack(recalls).mean(dim=0).nanmean(dim=0), torch.nan)


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
        resampled = halves(batch.layout, labels, seed, done, count, classes).flatten(0, 1)
        duals = batch.fit(resampled, C_index.repeat_interleave(count, dim=0), classes)
        rounds.append(batch.coef(duals).float().unflatten(0, (r, count)))
    return torch.cat(rounds, dim=1).permute(2, 0, 1, 3)
