"""What changed between two audits, as plain data, and the page of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fdgpu.described import Described, html_table
from fdgpu.findings import Interval
from fdgpu.report.page import asset, environment
from fdgpu.report.pictures import data_uri, square
from fdgpu.report.wording import MISSING, chance, percent, plural

STYLES = ("base.css", "tables.css", "comparison.css", "print.css")
THUMBNAIL = 96  # pixels of the longer side
QUALITY = 82  # of its encoding
PICTURES = 8  # of a class that turned right, and as many that turned wrong
MOST_PICTURES = 1_200  # on the page; at 96 pixels some 5 MB


class Verdict(StrEnum):
    """What became of a failure."""

    WENT = "went"
    EASED = "eased"
    STAYED = "stayed"
    GREW = "grew"
    CAME = "came"


@dataclass(frozen=True)
class PairedChange:
    """How right two models are on the same images.

    Attributes:
        n: images.
        right_before: on which the old model is right.
        right_after: on which the new one is.
        turned_right: the old model wrong, the new one right.
        turned_wrong: the other way round.
        change: accuracy after minus before, with its 95 % interval; NaN without an image.
        p_value: of McNemar's exact test, that so many turn one way and not the other by chance.
        q_value: p corrected for all tests of its kind (Benjamini–Hochberg).
    """

    n: int
    right_before: int
    right_after: int
    turned_right: int
    turned_wrong: int
    change: Interval
    p_value: float
    q_value: float = float("nan")

    @property
    def accuracy_before(self) -> float:
        """Share of the images on which the old model is right."""
        return self.right_before / self.n if self.n else float("nan")

    @property
    def accuracy_after(self) -> float:
        """Share on which the new one is."""
        return self.right_after / self.n if self.n else float("nan")

    def rose(self, level: float) -> bool:
        """Whether the new model is right more often, q at most ``level``."""
        return self.turned_right > self.turned_wrong and self.q_value <= level

    def fell(self, level: float) -> bool:
        """Whether it is right less often."""
        return self.turned_right < self.turned_wrong and self.q_value <= level


@dataclass(frozen=True)
class FailureChange:
    """A failure that one of the audits found, under both models.

    Attributes:
        class_name: whose failure it is.
        mode: which of the class's directions, from 0.
        caption: its hardest reliable caption, or nothing.
        verdict: what became of it; None of one that only the new audit calls significant, of a class without a failure
            before, where the paired test does not show that the model got worse.
        hard_side: both models on the class's images on the hard side of the direction that the audit found.
        gap_before: accuracy of the old model outside of the hard side minus that on it: how strong the failure is.
        gap_after: the same of the new model.
    """

    class_name: str
    mode: int
    caption: str
    verdict: Verdict | None
    hard_side: PairedChange
    gap_before: Interval
    gap_after: Interval


@dataclass(frozen=True)
class ClassChange:
    """One class under both models: accuracy, and how strong and how sure its strongest failure was in each audit.

    ``score`` is the cross-validation score, ``explained`` the share of the errors that the hidden class explains (of
    the latent method, else NaN). Both are NaN without a direction.
    """

    name: str
    accuracy: PairedChange
    score_before: float
    score_after: float
    explained_before: float
    explained_after: float
    significant_before: bool
    significant_after: bool


@dataclass(frozen=True)
class TurnedImage:
    """An image on which one model is right and the other wrong.

    ``decision`` is its value along the old audit's strongest direction of its class, NaN without one.
    """

    path: str
    class_name: str
    prediction_before: str
    prediction_after: str
    decision: float


@dataclass(frozen=True, repr=False)
class Comparison(Described):
    """Two audits of the same images.

    Attributes:
        before: what is compared with.
        after: what is compared.
        split: of the images, ``test`` or ``val``.
        fdr: level of every verdict.
        overall: both models on all images.
        classes: every class, in the order of the old audit.
        failures: those that were significant before, then those of the new audit that came, or whose class had none.
        turned_right: images that the old model gets wrong and the new one right, the hardest first.
        turned_wrong: images that it gets right and the new one wrong, the easiest first.
        notes: what to know before believing a number.
        page: the comparison as HTML.

    Example:
        >>> found = fdgpu.compare(audited, audited)
        >>> found.in_words, found.count("stayed"), found.worse
        ('1 stayed', 1, ())
    """

    before: str
    after: str
    split: str
    fdr: float
    overall: PairedChange
    classes: tuple[ClassChange, ...]
    failures: tuple[FailureChange, ...]
    turned_right: tuple[TurnedImage, ...]
    turned_wrong: tuple[TurnedImage, ...]
    notes: tuple[str, ...] = ()
    page: str = ""

    def _described(self) -> dict[str, object]:
        return {
            "before": self.before,
            "after": self.after,
            "images": self.overall.n,
            "accuracy": f"{percent(self.overall.accuracy_before)} → {percent(self.overall.accuracy_after)}",
            "failures": self.in_words or "none",
        }

    def _repr_html_(self) -> str:
        """Return the failures and what became of them, as a notebook shows it."""
        facts = self._described()
        caption = f"{facts['before']} → {facts['after']}: accuracy {facts['accuracy']}; failures: {facts['failures']}"
        rows = [
            (one.class_name, one.caption or MISSING, str(one.verdict or MISSING), percent(side.accuracy_before),
             percent(side.accuracy_after), chance(side.q_value))
            for one in self.failures
            for side in [one.hard_side]
        ]  # fmt: skip
        return html_table(caption, ("class", "hardest caption", "verdict", "before", "after", "q"), rows)

    @property
    def worse(self) -> tuple[str, ...]:
        """What got worse, a sentence each: an accuracy that fell, a failure that grew or came."""
        fallen = [("all images", self.overall), *((f"the class {one.name}", one.accuracy) for one in self.classes)]
        accuracies = (
            f"accuracy on {name} fell from {change.accuracy_before:.1%} to {change.accuracy_after:.1%} "
            f"(q = {change.q_value:.2g})"
            for name, change in fallen
            if change.fell(self.fdr)
        )
        failures = (
            f"a failure of the class {one.class_name} {one.verdict}: on its hard side accuracy fell from "
            f"{side.accuracy_before:.1%} to {side.accuracy_after:.1%} (q = {side.q_value:.2g})"
            for one in self.failures
            for side in [one.hard_side]
            if one.verdict in (Verdict.GREW, Verdict.CAME)
        )
        return (*accuracies, *failures)

    def count(self, verdict: Verdict) -> int:
        """Return how many failures had this verdict."""
        return sum(one.verdict == verdict for one in self.failures)

    @property
    def in_words(self) -> str:
        """What happened to the failures, such as "4 went, 1 eased, 1 stayed"; nothing where there was none."""
        return ", ".join(f"{self.count(one)} {one}" for one in Verdict if self.count(one))


@dataclass(frozen=True)
class Mended:
    """A model that was mended in one way.

    Attributes:
        way: in words.
        minority: old and new model on the images of planted minorities; ``q_value`` is the p-value.
        overall: on all images.
        failures: what became of the failures, in words.
        page: of the comparison, from this page's folder on.
        seconds: that choosing and training took, without the audit of the new model.
    """

    way: str
    minority: PairedChange
    overall: PairedChange
    failures: str
    page: str
    seconds: float


def render_mended(found: Sequence[Mended]) -> str:
    """Render models that were mended in several ways as one page, with a link to the comparison of each."""
    style = Markup("\n".join(map(asset, STYLES)))  # noqa: S704 -- our own files
    return environment().get_template("mended.html").render(found=found, style=style)


def render_comparison(found: Comparison, pictures: Mapping[str, NDArray[np.uint8]]) -> str:
    """Render a comparison as one HTML page that opens from disk, runs no script and asks nothing of the network.

    Args:
        found: the comparison.
        pictures: (height, width, 3) uint8 by path; an image without one is named only.
    """
    turned = {"right": _by_class(found.turned_right), "wrong": _by_class(found.turned_wrong)}
    most = max(1, min(PICTURES, MOST_PICTURES // max(1, 2 * len(found.classes))))
    shown = [
        (one, [(way, turned[way].get(one.name, [])[:most]) for way in turned])
        for one in found.classes
        if any(turned[way].get(one.name) for way in turned)
    ]
    uris = {
        image.path: data_uri(square(pictures[image.path], THUMBNAIL), QUALITY)
        for _, ways in shown
        for _, images in ways
        for image in images
        if image.path in pictures
    }
    page = (
        environment()
        .get_template("comparison.html")
        .render(
            found=found,
            tested=any(math.isfinite(one.explained_before) for one in found.classes),
            turned=shown,
            uris=uris,
            verdicts=Verdict,
            plural=plural,
            style=Markup("\n".join(map(asset, STYLES))),  # noqa: S704 -- our own files
        )
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def _by_class(images: Sequence[TurnedImage]) -> dict[str, list[TurnedImage]]:
    classes: dict[str, list[TurnedImage]] = {}
    for image in images:
        classes.setdefault(image.class_name, []).append(image)
    return classes
