"""The words of the page: numbers as a reader wants them, findings in sentences, and what each number means.

Numbers have a true minus sign, and an en dash where there is none: never ``nan``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, takewhile

from markupsafe import Markup
from scipy.stats import hypergeom

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

MISSING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
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
BY_LOT = 0.05  # beyond it, errors in a group are no more than lots would put there
AS_MANY_BY_LOT = " On these images alone, that may be chance."
UNCONVERGED = (
    "The solver stopped at its iteration bound before it reached its tolerance, so this direction is approximate."
)
LITTLE_EVIDENCE = (
    "There is too little evidence to tell which images are in the hidden class: they are ranked by a strongly shrunk "
    "regression"
)
Explanations = dict[str, tuple[str, str]]  # by key: what the number is called, and what it means
OF_HIDDEN_CLASSES: Explanations = {
    "explained": (
        "errors explained",
        "Share of the class’s errors that the group explains: those inside it beyond the rate outside, on images "
        "that it was not fitted on, with a 95% interval.",
    ),
    "share": ("size of the group", "Share of the class’s images that belong to the hidden class of hard ones."),
}


def fixed(value: float, digits: int = 2) -> str:
    """Return ``value`` with ``digits`` decimals, for example ``−0.30``."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:  # "-0.00" is not a number that anyone wants to read
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """Return ``value`` with its sign always written, for example ``+0.30``."""
    text = fixed(value, digits)
    return f"+{text}" if text != MISSING and value > 0 and float(text) != 0 else text


def percent(value: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as a percentage, for example ``8.0%``."""
    text = fixed(100 * value, digits)
    return text if text == MISSING else f"{text}%"


def count(value: int) -> str:
    """Return a whole number with its thousands set apart."""
    return f"{value:,}"


def chance(value: float) -> str:
    """Return a p- or q-value; one below 0.001 as that bound."""
    if not math.isfinite(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def precise(value: float) -> str:
    """Return a small share with two significant digits, never as a power of ten: ``0.005``, ``0.0001``."""
    if not math.isfinite(value):
        return MISSING
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    text = f"{value:.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def power(value: float) -> str:
    """Return a regularisation strength, as a power of ten where it is one: ``10⁻³``."""
    if not math.isfinite(value):
        return MISSING
    if value > 0:
        exponent = round(math.log10(value))
        if math.isclose(value, 10.0**exponent, rel_tol=1e-9):
            return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPT)
    return f"{value:.3g}".replace("-", "−")


def significant(value: float, digits: int = 2) -> str:
    """Return ``value`` with so many significant digits, never as ``-5e-05``: ``−0.31``, ``12``, ``−5.0 × 10⁻⁵``."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power_of_ten = int(exponent)
    if -3 <= power_of_ten < 6:
        return fixed(value, max(0, digits - 1 - power_of_ten))
    return f"{mantissa} × 10{str(power_of_ten).translate(_SUPERSCRIPT)}".replace("-", "−", 1)


def tick_labels(values: Sequence[float]) -> tuple[list[str], str]:
    """Return labels of the evenly spaced ticks of an axis, and the power of ten that they leave to its name."""
    largest = max((abs(value) for value in values), default=0.0)
    exponent = math.floor(math.log10(largest)) if largest > 0 else 0
    power_of_ten = 0 if -3 <= exponent < 6 else exponent
    scaled = [value / 10.0**power_of_ten for value in values]
    step = min((abs(b - a) for a, b in pairwise(scaled)), default=abs(scaled[0]) if scaled else 1.0) or 1.0
    digits = max(0, math.ceil(-math.log10(step) - 1e-9))
    times = f" × 10{str(power_of_ten).translate(_SUPERSCRIPT)}" if power_of_ten else ""
    return [fixed(value, digits) for value in scaled], times


def duration(seconds: float) -> str:
    """Return a time as ``0.42 s``, ``3 min 05 s`` or ``1 h 02 min``."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(number: int, noun: str, many: str = "") -> str:
    """Return a count with its noun: ``1 image``, ``1,200 images``."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


# --- findings in sentences -------------------------------------------------------------------------------------------


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
    A second sentence follows where lots would put as many errors into such a group in more than one case of twenty.
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
    by_lot = hypergeom.sf(hard.n_errors - 1, hard.n + easy.n, errors, hard.n) > BY_LOT
    return start + Markup("; {} of these errors lie in a group of {} images{}.{}").format(
        number("covered", percent(hard.n_errors / errors, 0)),
        number("group", count(hard.n)),
        shares,
        AS_MANY_BY_LOT if by_lot else "",
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


# --- what each number means ------------------------------------------------------------------------------------------


def of_slices(findings: Findings) -> Explanations:
    """Return the meaning of the numbers of known columns."""
    shown, found_on = findings.shown_from, findings.fitted_on
    seen = f"the {shown} images"
    if shown == found_on:
        seen += ", which it was found on: it looks worse there than it is"
    return {
        "slice": (
            "known columns",
            f"Values of the columns that came with the images, alone and up to three together. They were found on "
            f"{found_on}: the model is wrong on them more often than on the rest of the class, and on several together "
            "more often than on each part.",
        ),
        "slice_right": (
            "right, of a slice",
            f"Share of {seen} of the slice on which the model is right, with a 95% interval.",
        ),
        "slice_q": (
            "q, of a slice",
            "p of Fisher’s exact test, corrected for every value and every combination of values that was tried in all "
            "classes (Benjamini–Hochberg).",
        ),
    }


def explanations(findings: Findings) -> Explanations:
    """Return the meaning of every number that a page of these findings may show."""
    shown, latent = findings.shown_from, findings.method == "latent"
    seen = f"the {shown} images"
    if shown == findings.fitted_on:
        seen += ", which the direction was fitted on: it looks better there than it is"
    return {
        "accuracy": ("right", f"Share of the class’s {shown} images on which the model is right."),
        "wrong": ("wrong", f"Share of the class’s {shown} images on which the model is wrong."),
        "inside": (
            "inside",
            f"Accuracy of the model inside the group of hard images (decision value below 0), on {seen}. "
            "Images are put into the group by what they show, and not by the model’s answer to them.",
        ),
        "outside": ("outside", f"Accuracy of the model on all other images of the class, on {seen}."),
        "covered": (
            "share of the errors",
            "How many of the class’s errors lie inside the group. It says most where the group is a small part of the "
            "class.",
        ),
        "group": (
            "group",
            f"The class’s {shown} images on the hard side of its direction: what they show resembles what the model "
            "got wrong more than what it got right.",
        ),
        "errors": (
            "errors",
            f"Images of {findings.fitted_on} that the model got wrong: the direction learnt from these.",
        ),
        "samples": ("images", f"Images of the class in {findings.fitted_on}, which the direction was fitted on."),
        "consistency": (
            "consistency (CV score)",
            "How well the direction foretells right and wrong on images that it was not fitted on (balanced accuracy "
            "over the folds of a cross-validation): 0.5 is chance, 1 is perfect. The higher, the more the errors have "
            "in common."
            + ("" if latent else " It is the best over the values of C that were tried, so a little optimistic."),
        ),
        "nested": (
            "nested CV score",
            "The consistency again, where C is chosen on other images than those it is scored on: not optimistic.",
        ),
        "p": (
            "p",
            (
                "How often vectors foretell as well how the model does where that was shuffled within the class."
                if latent
                else "How often so high a consistency comes of right and wrong that were shuffled within the class."
            )
            + " Small means that chance does not explain it.",
        ),
        "q": (
            "q",
            f"p corrected for all classes that were tested (Benjamini–Hochberg). Of those with q up to "
            f"{precise(findings.fdr)}, about {precise(100 * findings.fdr)}% are expected to be chance.",
        ),
        **(OF_HIDDEN_CLASSES if latent else {}),
        **(of_slices(findings) if findings.slices_tested else {}),
        "strength": (
            "shrinkage λ" if latent else "C",
            "How strongly the direction is held back from fitting single images; cross-validation chose it.",
        ),
        "decision": (
            "decision value",
            "How far an image lies on the easy side (above 0) or on the hard side (below 0) of its class’s direction. "
            "It has no unit.",
        ),
        "confidence": ("confidence", "The model’s own probability of what it predicted."),
        "true_probability": ("true class", "The model’s own probability of the true class."),
        "alignment": (
            "alignment",
            "How closely the caption points along the direction, from −1 (hardest) over 0 to +1 (easiest): the cosine "
            "between the direction and what the caption adds to the plain name of the class.",
        ),
        "caption": (
            "what the errors share",
            "The hardest caption that can be believed: it stays on top when the direction is fitted on random halves "
            "of the images, or the images nearest to it are less accurate than their class.",
        ),
        "across": (
            "across",
            "The class’s second direction; where it has one only, the spread of its images beside it (of the four "
            "widest) along which right and wrong lie furthest apart. It has no unit.",
        ),
    }
