"""Settings: unit vectors with a planted slice, and a simulated model that fails inside it.

The three families are those of Domino (ICLR 2022):

- *correlation*: an attribute that half of the samples have agrees with the label, with correlation ``strength``
  (0.2 to 0.8). Two slices, where they disagree: label 1 without it, and label 0 with it.
- *rare*: a subclass of label 1 that holds a share ``strength`` (0.01 to 0.05) of all samples is the slice.
- *noisy label*: a subclass of label 1 with a tenth of all samples is the slice; a share ``strength`` (0.1 to 0.4) of
  its labels is wrong. What a sample looks like follows its true label; everything else sees the given one.

The model's score for label 1 is Beta(q, 1 - q) where the label is 1 and Beta(1 - q, q) where it is 0, q = 0.75 outside
a slice and 0.4 inside. Both densities have a pole at the wrong score, the one inside the slice the steeper, so the very
largest losses of a *large* slice betray it without any embedding.

Geometry. A sample's latent vector is standard normal in ``d`` factors plus a shift for each thing it shows: its class,
its subclass, its attributes. Factors are scaled so that their variance falls as 1 / i, as the spectra of CLIP
embeddings roughly do, turned by a random rotation (no factor lies on an axis), moved by a common mean (embeddings fill
a cone, not a sphere), and normalised. A shift loads on the factors in proportion to their variance, as what is seen in
an image does, and its latent length is its d': the best linear probe, with endless data, tells the two sides apart with
AUC Phi(d' / sqrt 2). What is planted has d' 4 (AUC 0.998, as probes reach on concepts that CLIP embeds well) or 2.5
(0.96, a concept that it embeds poorly); a planted subclass lies so far from the centre of its label. It is not trivial
for any method: distances and means are dominated by the leading factors, and as much variation as the slice's belongs
to subclasses and attributes on which the model does well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAMILIES: dict[str, tuple[float, ...]] = {
    "correlation": (0.2, 0.35, 0.5, 0.65, 0.8),
    "rare": (0.01, 0.02, 0.03, 0.04, 0.05),
    "noisy label": (0.1, 0.175, 0.25, 0.325, 0.4),
}
OUTSIDE, INSIDE = 0.75, 0.4  # mean probability that the model gives to the label
NOISY_SHARE = 0.1
SEPARATIONS = (4.0, 2.5)  # d' of what is planted


@dataclass(frozen=True)
class Geometry:
    """Dimensions, and what varies beside the slice: how much of it there is, and how far apart (d') its sides are."""

    d: int = 768
    label: float = 5.0
    subclass: float = 5.0  # between two
    attribute: float = 4.0  # the distractors'
    subclasses: int = 8  # of each label, the planted one not counted
    distractors: int = 8  # attributes without any influence on label or model
    cone: float = 1.0  # length of the common mean over the root of the total variance


@dataclass(frozen=True)
class Setting:
    """One cell of the grid; the same setting is always the same data."""

    family: str
    strength: float
    separation: float = 4.0
    seed: int = 0
    samples: int = 30_000
    geometry: Geometry = Geometry()

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family is {self.family!r}: use one of {', '.join(FAMILIES)}")
        if not 0 < self.strength < 1:
            raise ValueError(f"strength is {self.strength}: use a share between 0 and 1")
        if not self.separation >= 0:
            raise ValueError(f"separation is {self.separation}: use a d' of 0 (the slice looks like the rest) or more")
        if self.samples < 100:
            raise ValueError(
                f"samples is {self.samples}: half of them are fitted and half are scored, use at least 100"
            )


@dataclass(frozen=True)
class Samples:
    """What a method may see: x (n, d) float32 unit rows, labels (n,) 0 or 1, scores (n,) the model's for label 1."""

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) whether the thresholded score is the label."""
        return np.asarray((self.scores >= 0.5) == (self.labels == 1))

    @property
    def losses(self) -> NDArray[np.float64]:
        """(n,) cross-entropy of the scores."""
        return -np.log(np.where(self.labels == 1, self.scores, 1 - self.scores))


@dataclass(frozen=True)
class Planted:
    """A setting's data: samples to fit, samples to score, and which of either lie in which slice, (n, slices)."""

    validation: Samples
    held_out: Samples
    truth: NDArray[np.bool_]
    validation_truth: NDArray[np.bool_]


def plant(setting: Setting) -> Planted:
    """Draw a setting."""
    setting_id = list(FAMILIES).index(setting.family), round(setting.strength * 1e6), round(setting.separation * 1e6)
    rng = np.random.default_rng([*setting_id, setting.seed])
    content = _content(setting, rng)
    x = _embed(content, setting, rng)
    scores = simulate_scores(content.labels, np.asarray(content.slices.any(axis=1)), rng)
    half = np.arange(setting.samples) < setting.samples // 2  # rows come in random order
    parts = [Samples(x[rows], content.labels[rows], scores[rows]) for rows in (half, ~half)]
    return Planted(parts[0], parts[1], content.slices[~half], content.slices[half])


def simulate_scores(
    labels: NDArray[np.int64], inside: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the model's score for label 1, (n,), kept 1e-12 away from 0 and 1 where a loss would be infinite."""
    q = np.where(inside, INSIDE, OUTSIDE)
    mean = np.where(labels == 1, q, 1 - q)
    return np.clip(rng.beta(mean, 1 - mean), 1e-12, 1 - 1e-12)


@dataclass(frozen=True)
class Content:
    """What is in the images: truth (n,) and labels (n,), which differ by label noise, attribute, planted, slices."""

    truth: NDArray[np.int64]
    labels: NDArray[np.int64]
    attribute: NDArray[np.bool_]  # (n,) the correlated one
    planted: NDArray[np.bool_]  # (n,) member of the planted subclass
    slices: NDArray[np.bool_]  # (n, slices)


def _content(setting: Setting, rng: np.random.Generator) -> Content:
    """Lay out exact shares, in random order."""
    n = setting.samples
    order = rng.permutation(n)
    truth = (order < n // 2).astype(np.int64)
    labels, no_one = truth.copy(), np.zeros(n, bool)
    if setting.family == "correlation":
        agreeing = round(n // 2 * (1 + setting.strength) / 2)  # of each label, so that attribute and label are balanced
        attribute = np.where(truth == 1, order < agreeing, order >= n // 2 + agreeing)
        slices = np.stack([(truth == 1) & ~attribute, (truth == 0) & attribute], axis=1)
        return Content(truth, labels, attribute, no_one, slices)
    share = setting.strength if setting.family == "rare" else NOISY_SHARE
    planted = order < round(share * n)
    if setting.family == "noisy label":
        labels[order < round(setting.strength * round(share * n))] = 0
    return Content(truth, labels, no_one, planted, planted[:, None])


def _embed(content: Content, setting: Setting, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw (n, d) unit rows that show ``content``."""
    geometry = setting.geometry
    n, d = len(content.truth), geometry.d
    deviation = np.arange(1, d + 1) ** -0.5

    def shifts(count: int, length: float) -> NDArray[np.float64]:
        drawn = rng.normal(size=(count, d)) * deviation
        return np.asarray(length * drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    kinds = geometry.subclasses
    subclass = rng.integers(kinds, size=n) + kinds * content.truth
    subclass[content.planted] = 2 * kinds
    latent = rng.standard_normal((n, d), dtype=np.float32)
    centres = np.concatenate([shifts(2 * kinds, geometry.subclass / np.sqrt(2)), shifts(1, setting.separation)])
    latent += centres.astype(np.float32)[subclass]
    present = rng.random((n, geometry.distractors)) < rng.uniform(0.1, 0.5, geometry.distractors)
    shown = np.column_stack([content.truth == 1, content.attribute, present]).astype(np.float32)
    attributes = shifts(1, setting.separation), shifts(geometry.distractors, geometry.attribute)
    latent += shown @ np.concatenate([shifts(1, geometry.label), *attributes]).astype(np.float32)
    rotation, _ = np.linalg.qr(rng.standard_normal((d, d)))
    mean = rng.normal(size=d)
    mean *= geometry.cone * np.linalg.norm(deviation) / np.linalg.norm(mean)
    x = latent @ (deviation[:, None] * rotation).astype(np.float32) + mean.astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x, np.float32)
