"""Is it the model, or the data? What the page shows of the lists of errors."""

from __future__ import annotations

from collections.abc import Sequence

from fdgpu.findings import Cause, Example, Findings, Thumbnails
from fdgpu.report.formats import count
from fdgpu.report.pictures import Encoding, Strip, make_strip

PICTURES = 10  # of each list, the surest first
HEADINGS = {
    Cause.LABEL: ("Label likely wrong", "they look as what the model took them for usually looks"),
    Cause.DUPLICATE: ("Duplicates", "of a picture of another split, or with another label"),
    Cause.MODEL: ("The model’s own", "neither the label nor a duplicate explains them"),
}


def pictures_of_causes(findings: Findings) -> dict[Cause, tuple[Example, ...]]:
    """Return the first images of each list."""
    if findings.causes is None:
        return {}
    return {cause: tuple(one.example for one in listed[:PICTURES]) for cause, listed in findings.causes.lists.items()}


def cause_strips(findings: Findings, thumbnails: Thumbnails, encoding: Encoding) -> tuple[Strip, ...]:
    """Return a row of pictures of each list that has some."""
    return tuple(
        make_strip("plain", *HEADINGS[cause], pictures, thumbnails, encoding)
        for cause, pictures in pictures_of_causes(findings).items()
        if pictures
    )


def cause_words(counts: Sequence[int]) -> str:
    """Say how many errors are due to a label, to a duplicate, and to the model.

    >>> cause_words((3, 1, 40))
    'label likely wrong 3, duplicates 1, the model’s own 40'
    """
    label, duplicate, model = counts
    parts = [("label likely wrong", label), ("duplicates", duplicate), ("the model’s own", model)]
    return ", ".join(f"{what} {count(n)}" for what, n in parts if n or what == "the model’s own")
