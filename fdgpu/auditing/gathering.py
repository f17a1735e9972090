"""From a fit, its captions and its images to what the page shows of every class, and of every image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device, to_host
from fdgpu.auditing.captioning import CaptionedClasses, ModeCaptions
from fdgpu.auditing.images import AuditImages
from fdgpu.auditing.truth import Planted, compare_with_planted, running_share
from fdgpu.directions.fit import Fit
from fdgpu.directions.samples import COMMAND_LINE_REMEDIES, REMEDIES
from fdgpu.embedding.given import NamedImages
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError
from fdgpu.findings import (
    INTERFACE,
    Causes,
    ClassFindings,
    Curve,
    CurveRole,
    DecodedPictures,
    Example,
    Histogram,
    ImageTable,
    Interface,
    Interval,
    ModeFindings,
    Status,
    Tally,
    Thumbnails,
)
from fdgpu.report.pictures import pixels_of
from fdgpu.rows import taken_by_part

EXAMPLES = 10  # images of each kind that the page shows of a failure mode
BINS = 30
TOP_WORDS = 12  # of a failure mode, on the page and in audit.json; effects.parquet has all
THUMBNAIL, LARGEST = 96, 512  # pixels of the longer side, at least and at most
PICTURES = 2_000  # that the page holds where examples leave room: the others of a map open as words
PIXEL_BYTES = 400_000_000  # of them all; many are smaller
NO_THRESHOLD = (
    "Neither train nor val holds images both with the condition and without it, by which the threshold of its answers "
    "is chosen: add some, or pass predictions of 0 and 1."
)
NOT_SEEN = "No image of this class is in the split that directions are fitted on: add some."

MOST = 100_000  # images that a page lists
NEIGHBOURS = 4
COMPARED = 4_096  # images of a class among which neighbours are looked for, and axes: more are thinned out evenly
AXES = 4  # the widest spreads of a class, of which the most telling is the map's second axis
STEPS = 8  # of the orthogonal iteration that finds them
Rows = NDArray[np.int64]


def class_findings(
    fit: Fit,
    images: AuditImages,
    captions: CaptionedClasses,
    planted: Mapping[str, Planted],
    decoded: Mapping[int, tuple[DecodedPictures, ...]],
) -> tuple[ClassFindings, ...]:
    """Describe every class of the inputs, with or without a direction.

    Args:
        fit: the record of the directions.
        images: the audit's images.
        captions: of the classes that have a direction.
        planted: what is known, by class name.
        decoded: pictures, by class id.
    """
    index = {int(k): i for i, k in enumerate(fit.classes)}
    remedies = COMMAND_LINE_REMEDIES if INTERFACE.get() is Interface.COMMAND_LINE else REMEDIES
    found = []
    for k, name in enumerate(images.inputs.class_names):
        condition = images.inputs.condition_of(k)
        of = condition.name if condition else ""
        if k not in index:
            left_out = condition is not None and condition.left_out
            why = (Status.NO_THRESHOLD, NO_THRESHOLD) if left_out else (Status.NO_SAMPLES, NOT_SEEN)
            found.append(ClassFindings(name, *why, n=0, n_errors=0, condition=of))
            continue
        i, rows = index[k], images.rows_of(k)
        correct, status = images.inputs.correct[rows], Status(fit.status[i])
        kept = int(fit.n_directions[i])
        own = captions.by_class.get(k, (None,) * kept)
        by_confidence = confidence_order(images, rows) if kept else None
        found.append(
            ClassFindings(
                name,
                status,
                remedies[status],
                n=int(fit.n_samples[i]),
                n_errors=int(fit.n_errors[i]),
                modes=tuple(
                    _mode(fit, (i, direction), images, rows, own[direction], planted.get(name))
                    for direction in range(kept)
                ),
                n_permutations=int(fit.n_permutations[i]),
                p_value_reason=fit.p_value_reason[i],
                nested_score=float(fit.nested_score[i]),
                solver=fit.solver[i],
                n_shown=len(rows),
                accuracy_shown=float(correct.mean()) if len(rows) else float("nan"),
                unsure_examples=() if by_confidence is None else examples(images, rows[by_confidence[:EXAMPLES]]),
                decoded=decoded.get(k, ()),
                condition=of,
            )
        )
    return tuple(found)


def _mode(
    fit: Fit,
    at: tuple[int, int],
    images: AuditImages,
    rows: NDArray[np.int64],
    own: ModeCaptions | None,
    planted: Planted | None,
) -> ModeFindings:
    """Describe one direction by the fit, its captions and the shown images of its class (rows of the audit)."""
    direction, correct = at[1], images.inputs.correct[rows]
    decisions, ranks = images.decisions[rows, direction], images.ranks[rows, direction]
    hardest, easiest = (np.argsort(order, kind="stable")[:EXAMPLES] for order in (ranks, -ranks))
    hard_captions = own.hard if own else ()
    truth = None
    if planted is not None:
        truth = compare_with_planted(
            planted, images.inputs.image_of(rows), ranks, confidence_order(images, rows), hard_captions
        )
    return ModeFindings(
        cv_score=float(fit.cv_score[at]),
        p_value=float(fit.p_value[at]),
        q_value=float(fit.q_value[at]),
        significant=bool(fit.significant[at]),
        C=float(fit.C[at]),
        C_at_edge=bool(fit.C_at_edge[at]),
        C_tied=_tied(fit, at),
        converged=bool(fit.converged[at]),
        n_errors=int(fit.n_errors_of[at]),
        share=float(fit.share[at]),
        errors_explained=None if np.isnan(fit.explained[at][0]) else Interval(*map(float, fit.explained[at])),
        hard_captions=hard_captions,
        easy_captions=own.easy if own else (),
        word_effects=own.words.strongest(TOP_WORDS) if own else (),
        explained_by_words=own.words.explained if own else float("nan"),
        hard_examples=examples(images, rows[hardest], direction),
        easy_examples=examples(images, rows[easiest], direction),
        hard_side=_tally(decisions < 0, correct),
        easy_side=_tally(decisions >= 0, correct),
        decisions=histogram(decisions, correct),
        nearest_accuracy=_nearest_curves(own) if own else (),
        planted=truth,
    )


def _tally(chosen: NDArray[np.bool_], correct: NDArray[np.bool_]) -> Tally:
    return Tally(int(chosen.sum()), int((chosen & ~correct).sum()))


def _tied(fit: Fit, at: tuple[int, int]) -> bool:
    """Whether the C after the chosen one scores the same; then the smaller one was chosen for being smaller."""
    after = fit.solver_settings.Cs.index(float(fit.C[at])) + 1
    scores = fit.cv_scores[at]
    return after < len(scores) and bool(np.isclose(scores[after], fit.cv_score[at], rtol=0, atol=1e-12))


def confidence_order(images: AuditImages, rows: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Order rows by the model's own confidence: sure and wrong first, sure and right last; None without confidences."""
    if images.inputs.confidence is None:
        return None
    confidence = images.inputs.confidence[rows]
    return np.argsort(np.where(images.inputs.correct[rows], confidence, -confidence), kind="stable")


def examples(images: AuditImages, rows: NDArray[np.int64], direction: int = 0) -> tuple[Example, ...]:
    """Describe samples for the page, with the values by which one direction of their class ranks them."""
    inputs = images.inputs
    of = inputs.image_of(rows).tolist()
    return tuple(
        Example(
            path=images.ids[image],
            correct=bool(inputs.correct[row]),
            prediction=inputs.class_names[inputs.predictions[row]],
            decision=float(images.ranks[row, direction]),
            confidence=None if inputs.confidence is None else float(inputs.confidence[row]),
            true_probability=None if inputs.true_probability is None else float(inputs.true_probability[row]),
        )
        for row, image in zip(rows.tolist(), of, strict=True)
    )


def histogram(decisions: NDArray[np.float64], correct: NDArray[np.bool_]) -> Histogram | None:
    """Count decision values (m,) of right and wrong images in common bins; None without images."""
    if not len(decisions):
        return None
    low, high = float(decisions.min()), float(decisions.max())
    margin = max(0.0, 1e-6 * max(abs(low), abs(high), 1e-12) - (high - low))  # equal but for rounding
    edges = np.linspace(low - margin, high + margin, BINS + 1)
    right, _ = np.histogram(decisions[correct], edges)
    wrong, _ = np.histogram(decisions[~correct], edges)
    return Histogram(tuple(edges.tolist()), tuple(right.tolist()), tuple(wrong.tolist()))


def _nearest_curves(captions: ModeCaptions) -> tuple[Curve, ...]:
    """Accuracy of the K images nearest to the hardest and to the easiest caption (paper, figure 7b)."""
    return tuple(
        running_share(f"nearest to the {side} caption", CurveRole(f"{side}_caption"), correct)
        for side, correct in captions.nearest.items()
        if len(correct)
    )


def hardest_curves(
    correct: NDArray[np.bool_], decisions: NDArray[np.float64], confidence: NDArray[np.float64] | None
) -> tuple[Curve, ...]:
    """Accuracy of the K hardest images of a class: of the lowest decision value, and of the least confidence.

    Args:
        correct: (n,) whether the model is right.
        decisions: (n,) decision values.
        confidence: (n,) of the model in its predictions; None where unknown.
    """
    orders = [("lowest decision value", CurveRole.DECISION_VALUE, decisions)]
    if confidence is not None:
        orders.append(("least confidence", CurveRole.CONFIDENCE, confidence))
    return tuple(
        running_share(name, role, correct[np.argsort(values, kind="stable")])
        for name, role, values in orders
        if np.isfinite(values).any()
    )


def thumbnails(
    classes: Sequence[ClassFindings], causes: Causes, table: ImageTable | None, source: ImageSource, ids: list[str]
) -> tuple[Thumbnails, list[str]]:
    """Fetch the pictures that the page holds: every example, and the hardest of the other images while there is room.

    Returns:
        Pictures of :data:`THUMBNAIL` to :data:`LARGEST` pixels, the smaller the more they are; the examples that are
        missing.
    """
    if isinstance(source, NamedImages):
        return Thumbnails(only_names=True), []
    row = {path: i for i, path in enumerate(ids)}
    sorted_by_cause = (one.example for listed in causes.lists.values() for one in listed[:EXAMPLES])
    shown = list(dict.fromkeys(e.path for e in (*(e for one in classes for e in one.examples), *sorted_by_cause)))
    further = [] if table is None else [table.paths[i] for i in _hardest_first(table)[:PICTURES]]
    wanted = list(dict.fromkeys((*shown, *further)))[: max(PICTURES, len(shown))]
    side = math.isqrt(PIXEL_BYTES // (3 * max(1, len(wanted))))
    pictures = source.pictures([row[path] for path in wanted], min(max(side, THUMBNAIL), LARGEST))
    if len(pictures) != len(wanted):
        raise InputError(f"images gave {len(pictures)} pictures to show of {len(wanted)}: pass one, or None, for each")
    found = Thumbnails({path: picture for path, picture in zip(wanted, pictures, strict=True) if picture is not None})
    pixels_of(wanted, found)  # the page would find out too late
    return found, [path for path in shown if path not in found.pixels]


def _hardest_first(table: ImageTable) -> NDArray[np.int64]:
    """Order the rows: the hardest of each class, then the second of each; classes without a direction come last."""
    first = table.decisions[:, 0]
    order = np.lexsort((first, table.labels))
    place = np.arange(len(order)) - np.searchsorted(table.labels, table.labels)  # labels ascend
    return np.asarray(order[np.lexsort((place, np.isnan(first[order])))])


# --- every image as the page lists it --------------------------------------------------------------------------------


def image_table(fit: Fit, images: AuditImages, why: NDArray[np.str_] | None = None) -> ImageTable:
    """Lay out the shown images in columns, class after class.

    The second axis of a class is its second direction. Where it has one direction only, it is one of the widest spreads
    of its images beside the direction (principal axes), the one along which right and wrong images lie furthest apart.
    Neighbours have the highest cosine of whitened vectors. From a device one number a sample comes down for the axis,
    and one a neighbour.

    Args:
        fit: the record of the directions.
        images: the audit's images.
        why: (N,) for each sample what its error may be instead of the model's own, "" for nothing.
    """
    inputs, parts = images.inputs, _listed(images)
    rows = np.concatenate(parts) if parts else np.empty(0, np.int64)
    across, nearest = _laid_out(fit, images, parts)
    starts = np.repeat(np.cumsum([0, *map(len, parts)])[:-1], [len(part) for part in parts]).astype(np.int64)
    return ImageTable(
        paths=tuple(images.ids[image] for image in inputs.image_of(rows).tolist()),
        labels=inputs.labels[rows],
        predictions=inputs.predictions[rows],
        decisions=images.decisions[rows],
        across=across,
        neighbours=np.where(nearest < 0, -1, nearest + starts[:, None]),
        confidence=None if inputs.confidence is None else inputs.confidence[rows],
        true_probability=None if inputs.true_probability is None else inputs.true_probability[rows],
        why=() if why is None else tuple(why[rows].tolist()),
        left_out=int(images.shown.sum()) - len(rows),
    )


def _listed(images: AuditImages) -> list[Rows]:
    """Return the samples of each class that are listed: all, or where these are too many half of them the hardest."""
    parts = [images.rows_of(k) for k in range(len(images.inputs.class_names))]
    total = sum(map(len, parts))
    return parts if total <= MOST else [_thinned(images, rows, len(rows) * MOST // total) for rows in parts]


def _thinned(images: AuditImages, rows: Rows, keep: int) -> Rows:
    """Keep some samples of a class: the hardest, and as many that are spread over the others."""
    order = rows[np.argsort(images.ranks[rows, 0], kind="stable")]
    first = (keep + 1) // 2
    others = order[first:]
    chosen = np.linspace(0, len(others) - 1, keep - first).astype(int) if len(others) else np.empty(0, int)
    return np.sort(np.concatenate([order[:first], others[chosen]]))


def _laid_out(fit: Fit, images: AuditImages, parts: list[Rows]) -> tuple[NDArray[np.float64], Rows]:
    """Return the place of each listed sample along its class's second axis, (N,), and its neighbours, (N, K) in it."""
    n, device, inputs = sum(map(len, parts)), images.vectors.device, images.inputs
    across = torch.full((n,), torch.nan, device=device)
    nearest = torch.full((n, NEIGHBOURS), -1, dtype=torch.int32, device=device)
    found_classes = set(fit.classes[fit.n_directions > 0].tolist())
    of_images = [inputs.image_of(rows) for rows in parts]
    start = 0
    for k, (rows, blocks) in enumerate(zip(parts, taken_by_part(images.vectors, of_images), strict=True)):
        if not len(rows):
            continue
        x = torch.cat([fit.whitening(block).float() for block in blocks])
        part = slice(start, start + len(rows))
        start += len(rows)
        found = _neighbours(x)
        nearest[part, : found.shape[1]] = found
        if k in found_classes:
            across[part] = second_axis(fit, k, x, inputs.correct[rows])
    host = to_host(across, "places on the maps").astype(np.float64)
    return host, to_host(nearest, "images most like each").astype(np.int64)


def second_axis(fit: Fit, k: int, x: torch.Tensor, correct: NDArray[np.bool_]) -> torch.Tensor:
    """Return where images of class k lie across its first direction: along its second, or the most telling spread.

    Args:
        fit: in which the class has a direction.
        k: the id of the class.
        x: (n, d) its images, whitened.
        correct: (n,) whether the model is right.
    """
    i = fit.index_of(k)
    if fit.n_directions[i] > 1:
        return fit.decide(x, np.full(len(x), k), 1).float()
    direction = to_device(fit.directions[i, 0], x.device).float().nan_to_num()
    return telling_axis(x, direction, to_device(correct, x.device))


def _neighbours(x: torch.Tensor) -> torch.Tensor:
    """Return the rows with the highest cosine to each unit row of ``x`` (n, d), up to K, itself left out."""
    among = to_device(np.arange(0, len(x), -(-len(x) // COMPARED)), x.device)
    some, k = x[among], min(NEIGHBOURS, len(among) - 1)
    found = []
    for at in range(0, len(x), COMPARED):
        block = x[at : at + COMPARED]
        own = torch.arange(at, at + len(block), device=x.device)
        alike = (block @ some.T).masked_fill_(own[:, None] == among, -torch.inf)
        found.append(among[alike.topk(k).indices])
    return torch.cat(found).int()


def telling_axis(x: torch.Tensor, direction: torch.Tensor, correct: torch.Tensor) -> torch.Tensor:
    """Return where each row of ``x`` (n, d) lies along the most telling of its widest spreads beside ``direction``.

    Args:
        x: the images of a class.
        direction: (d,) unit vector, which is taken out of them.
        correct: (n,) bool; right images come out on the positive side.
    """
    rest = x - x.mean(dim=0)
    rest = rest - (rest * direction).sum(dim=1, keepdim=True) * direction
    some = rest[:: -(-len(x) // COMPARED)]
    # The axes are the leading eigenvectors of the scatter; of few images their places are those of the Gram matrix.
    few = len(some) == len(rest) <= x.shape[1]
    scatter = some @ some.T if few else some.T @ some
    scatter = scatter / scatter.diagonal().sum().clamp_min(1e-12)
    size = (len(scatter), min(AXES, len(scatter)))
    axes = to_device(np.random.default_rng(0).standard_normal(size).astype(np.float32), x.device)
    for _ in range(STEPS):
        axes = torch.linalg.qr(scatter @ (scatter @ (scatter @ (scatter @ axes)))).Q
    along = scatter @ axes if few else rest @ axes
    along = along - along.mean(dim=0)
    along = along / along.std(dim=0, correction=0).clamp_min(1e-12)
    right = correct.float()
    of_right, of_wrong = (along * right[:, None]).sum(dim=0), (along * (1 - right)[:, None]).sum(dim=0)
    apart = of_right / right.sum().clamp_min(1) - of_wrong / (1 - right).sum().clamp_min(1)
    chosen = apart.abs().argmax()[None]
    sign = torch.where(apart[chosen] < 0, -1.0, 1.0)
    return along[:, chosen][:, 0] * sign
