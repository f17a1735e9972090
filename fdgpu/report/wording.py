"""Findings in words: a class's status, what a test showed, why a caption is reliable or withheld."""

from __future__ import annotations

import math
from itertools import takewhile

from markupsafe import Markup

from fdgpu.findings import (
    CaptionEvidence,
    ClassFindings,
    DecidedBy,
    Example,
    Findings,
    Interval,
    ModeFindings,
    ScoredCaption,
    Slice,
    Status,
)
from fdgpu.report.formats import chance, count, fixed, percent, plural, power, precise, signed, significant

STATUS_WORDS: dict[str, str] = {
    Status.NO_SAMPLES: "no samples",
    Status.NO_ERRORS: "no errors",
    Status.ALL_ERRORS: "all errors",
    Status.TOO_FEW_ERRORS: "too few errors",
    Status.TOO_FEW_CORRECT: "too few correct",
    Status.NO_THRESHOLD: "no threshold",
}
SIGNIFICANT, CHANCE, NOT_TESTED = "significant", "not distinguishable from chance", "fitted, not tested"
WHY_WITHHELD: dict[str, str] = {
    DecidedBy.CHANCE: "its failure mode is not distinguishable from chance",
    DecidedBy.CONTRADICTED: "the images nearest to it say the opposite",
    DecidedBy.NEITHER: "neither its rank nor its accuracy gap holds",
}
LITTLE = 0.1  # of a slice's errors beyond its class's rate
MOST_ALSO = 2  # captions of a group that are named beside its first
UNCONVERGED = (
    "The solver stopped at its iteration bound before it reached its tolerance, so this direction is approximate."
)

LITTLE_EVIDENCE = (
    "There is too little evidence to tell which images are in the hidden class: they are ranked by a strongly shrunk "
    "regression"
)


def number(about: str, text: str) -> Markup:
    """Return a number that says what it means where it stands."""
    return Markup('<span data-about="{}" tabindex="0">{}</span>').format(about, text)


def summary(findings: Findings) -> Markup:
    """Return the whole audit in two sentences: how often the model is right, and how many failures there are."""
    n = sum(one.n_shown for one in findings.classes)
    right = sum(one.n_shown * one.accuracy_shown for one in findings.classes if one.n_shown)
    what = "answer" if findings.conditions else "image"
    first = Markup("")
    if n:
        first = Markup("The model is right on <b>{}</b> of {}. ").format(
            percent(right / n), plural(n, f"{findings.shown_from} {what}")
        )
    of = plural(len(findings.classes), "class", "classes")
    found = sum(one.found for one in findings.classes)
    if not findings.tested:
        return first + Markup(
            "In <b>{}</b> of {} its errors may have something in common; nobody tested whether it is more than chance."
        ).format(count(found), of)
    sure = sum(one.significant for one in findings.classes)
    return first + Markup(
        "In <b>{}</b> of {} its errors have something in common that chance does not explain."
    ).format(count(sure) if sure else "none", of)


def class_sentence(one: ClassFindings, findings: Findings) -> Markup:
    """Return how often the model is wrong on a class: in the images that are shown, else in those of the fit."""
    name = Markup('<b class="class-name"><bdi>{}</bdi></b>').format(one.name)
    if one.n_shown:
        wrong, n, split = 1 - one.accuracy_shown, one.n_shown, findings.shown_from
    elif one.n:
        wrong, n, split = one.n_errors / one.n, one.n, findings.fitted_on
    else:
        return Markup("There is no image of {} to learn from").format(name)
    return Markup("{} is wrong on {} of its {}").format(
        name, number("wrong", percent(wrong, 0)), plural(n, f"{split} image")
    )


def failure_sentence(one: ClassFindings, mode: ModeFindings, findings: Findings) -> Markup:
    """Return one failure in a sentence: how often the class goes wrong, where most errors lie, what these share.

    Every word follows from the findings: the group is the images of the hard side, its caption the hardest reliable.
    """
    hard, easy = mode.hard_side, mode.easy_side
    start, errors = class_sentence(one, findings), hard.n_errors + easy.n_errors
    shares = Markup("")
    if mode.reliable_hard_captions:
        shares = Markup(", best described as <q><bdi>{}</bdi></q>").format(mode.reliable_hard_captions[0].caption)
    elif mode.hard_captions:
        shares = Markup(", which no caption describes reliably")
    if not errors or not hard.n:
        return start + shares.replace(", best", "; what the errors share is best") + Markup(".")
    return start + Markup("; {} of these errors lie in a group of {} images{}.").format(
        number("covered", percent(hard.n_errors / errors, 0)), number("group", count(hard.n)), shares
    )


def is_chance(one: ClassFindings) -> bool:
    """Return whether a class was tested and found no better than chance."""
    return one.tested and not one.significant


def status_words(one: ClassFindings) -> str:
    """Name the status of a class; of one that has a direction, the outcome of the test."""
    if not one.found:
        return STATUS_WORDS[one.status]
    if not one.tested:
        return NOT_TESTED
    return SIGNIFICANT if one.significant else CHANCE


def verdict(mode: ModeFindings, drawn: int, findings: Findings) -> str:
    """Return the result of the permutation test in words; nothing where none was made.

    Args:
        mode: the failure mode.
        drawn: permutations that were drawn for its class.
        findings: the audit, for its false discovery rate.
    """
    if not math.isfinite(mode.p_value):
        return ""
    by = plural(drawn, "permutation")
    least = ", the smallest p that these can show" if mode.p_value <= (1 + 1e-9) / (1 + drawn) else ""
    words = (
        f"{'Distinguishable' if mode.significant else 'Not distinguishable'} from chance "
        f"at a false discovery rate of {precise(100 * findings.fdr)}%: "
        f"p {chance(mode.p_value)} by {by}{least}; q {chance(mode.q_value)}."
    )
    if not mode.significant:
        words += " What it shows may be noise."
    return words


def explained_words(interval: Interval) -> str:
    """Return the share of the errors that is explained, with its interval."""
    return f"{percent(interval.value, 0)} ({percent(interval.low, 0)} to {percent(interval.high, 0)})"


def slice_words(one: Slice) -> str:
    """Say what else is known of a slice: that it follows from another, or that a direction explains it."""
    if one.follows_from:
        return f"follows from {one.follows_from}: without that, it is no worse than others"
    if not math.isfinite(one.explained):
        return ""
    if one.explained < LITTLE:
        return "no direction explains it"
    gone = f"{percent(one.explained, 0)} of its errors beyond the class’s rate"
    if one.explained_by is None:
        return f"a direction explains {gone}, and not the rest"
    return f"direction {one.explained_by + 1} explains it, {gone}"


def solver_remarks(mode: ModeFindings, solver: str, findings: Findings) -> tuple[str, ...]:
    """Return what a reader should know of the fit: that it stopped early, or that its C lies on the grid's edge.

    With the latent method, whose few shrinkages span what there is to choose, that there was too little evidence.
    """
    finish = findings.interface.advice("", " Raise max_iter or tol, or drop the largest Cs, and fit again.")
    unconverged = () if mode.converged else (UNCONVERGED + finish,)
    if solver == "latent":
        own = ", and by their own loss" if findings.uses_loss else ""
        return unconverged if math.isfinite(mode.share) else (*unconverged, f"{LITTLE_EVIDENCE}{own}.")
    edge = (edge_remark(mode.C, findings, tied=mode.C_tied),) if mode.C_at_edge else ()
    return (*unconverged, *edge)


def edge_remark(C: float, findings: Findings, *, tied: bool = False) -> str:
    """Explain that the best C lies on the edge of the grid, and what can be done.

    ``tied``: the next C of the grid scores the same. Then the smallest C was taken because it is the smallest, and a
    wider grid would change nothing.
    """
    grid = findings.C_grid
    edge = "largest" if grid and C >= max(grid) > min(grid) else "smallest"
    where = f" ({power(min(grid))} to {power(max(grid))})" if grid else ""
    chosen = f"The best C, {power(C)}, is the {edge} of the grid{where}"
    if tied and edge == "smallest":
        return f"{chosen}, taken because larger ones score the same. An even smaller C would not change the direction."
    beyond = "larger" if edge == "largest" else "smaller"
    widen = findings.interface.advice("", f" Widen Cs with {beyond} values and fit again.")
    return f"{chosen}: a better one may lie beyond it.{widen}"


def picture_words(example: Example) -> str:
    """Describe a picture, for a reader who points at it: a line each for answer, decision, probabilities and path."""
    lines = [
        f"{'Right' if example.correct else 'Wrong'}: predicted {example.prediction}",
        f"decision value {significant(example.decision, 3)}",
    ]
    if example.confidence is not None and math.isfinite(example.confidence):
        lines.append(f"confidence {percent(example.confidence)}")
    if example.true_probability is not None and not example.correct:  # of a right one it is the confidence
        lines.append(f"true class {percent(example.true_probability)}")
    return "\n".join([*lines, example.path])


def why_withheld(evidence: CaptionEvidence) -> str:
    """Return the reason why a caption is not reliable; nothing for one that is."""
    return WHY_WITHHELD.get(evidence.decided_by, "")


def also(caption: ScoredCaption) -> str:
    """Name the captions that say the same, without the words with which all of them start."""
    if not caption.also:
        return ""
    words = [text.split() for text in (caption.caption, *caption.also)]
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
    start = min(shared, min(map(len, words)) - 1)  # leave a word of each
    named = [" ".join(["…", *own[start:]] if start > 0 else own) for own in words[1 : 1 + MOST_ALSO]]
    more = len(caption.also) - len(named)
    return f"also {', '.join(named)}" + (f", and {count(more)} more" if more else "")


def proof(evidence: CaptionEvidence | None) -> str:
    """Return a caption's figures: its rank and those over the resamples, the accuracy of the images nearest to it."""
    if evidence is None:
        return ""
    parts = [f"rank {count(evidence.rank)} of {count(evidence.candidates)}"]
    if math.isfinite(evidence.top_share):
        ranks = f"{fixed(evidence.rank_low, 0)}–{fixed(evidence.rank_high, 0)}"
        parts[0] += f", {ranks} over resamples (top {count(evidence.top)} in {percent(evidence.top_share, 0)})"
    if math.isfinite(evidence.gap):
        low, high = (signed(100 * bound, 0) for bound in (evidence.gap_low, evidence.gap_high))
        parts.append(
            f"nearest {count(evidence.nearest)} are {percent(evidence.nearest_accuracy, 0)} right, "
            f"{signed(100 * evidence.gap, 0)} points ({low} to {high})"
        )
    return "; ".join(parts)
