"""What each number of the page means: said where it stands, on hover and on touch, and at the end of the page."""

from __future__ import annotations

from fdgpu.findings import Findings
from fdgpu.report.formats import precise

Explanations = dict[str, tuple[str, str]]  # by key: what the number is called, and what it means

OF_HIDDEN_CLASSES: Explanations = {
    "explained": (
        "errors explained",
        "Share of the class’s errors that the group explains: those inside it beyond the rate outside, on images "
        "that it was not fitted on, with a 95% interval.",
    ),
    "share": ("size of the group", "Share of the class’s images that belong to the hidden class of hard ones."),
}


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
