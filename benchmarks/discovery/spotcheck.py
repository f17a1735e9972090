"""SpotCheck (Plumb et al., arXiv 2207.04104): drawn images, a network with known blindspots.

Written after the paper and the authors' public code, which was read for what the paper leaves open.

A picture of 224 × 224 has a background, perhaps squares, and one to three other layers: a rectangle, a circle, a text.
Its attributes are drawn by a fair coin: how bright the background is and whether a tenth of its pixels drop out; of
each shape whether it is there, its size, colour and stripes; of squares whether there are two, and whether they lie
above the centre. The label is whether there is a square. A seed draws the layers and one to three blindspots of four to
six attributes, of which every two contradict each other in at least two. Pictures with a square in a blindspot have
label 0 where the network learns, and label 1 in the test set, so that it fails there.

Where this is not the paper:

- Pictures are drawn at 224 and averaged to 56 pixels, and the networks are small, for time.
- A quarter of the pictures are drawn from a blindspot, each as often, and the rest by the coin. By the coin alone a
  blindspot of six attributes holds less than a hundredth of the pictures, too few of so few.
- The paper's methods look at the test set as a whole. Here, as everywhere in this protocol, they are fitted on one half
  of it and show the other. Nothing is chosen by a validation set, so there is none.
- Vectors do not come from the network itself, but from a second one, of other pictures drawn by the coin alone. It is
  told which shapes there are, and no colour, size, stripes, number, place or background, and no blindspot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from benchmarks.baselines import Examples, Ranking, early_stopped, learning_from_failure
from benchmarks.discovery.problem import Problem, Samples
from fdgpu.networks import class_scores
from fdgpu.repair import TrainingRecipe, train

SIDE, POOLED = 224, 4
SIZES = {"square": ((40, 40), (20, 20)), "rectangle": ((50, 30), (25, 15)), "circle": ((40, 40), (20, 20))}
FONTS = (25, 50)
COLOURS = ((31, 119, 180), (255, 127, 14))  # blue, orange
GREYS, DROPOUT, DROPPED = (255, 200), 0.1, 100
STRIPE, MARGIN = 5, 5  # pixels
LOOKS = ("size", "colour", "stripes")
OTHERS = ("rectangle", "circle", "text")
IN_BLINDSPOTS = 0.25
TRAINED, HELD_OUT = 3000, 3000
WIDTHS = ((16, 2), (32, 2), (64, 1))  # channels and stride
RECIPE = TrainingRecipe(epochs=6, peak_lr=0.02, peak_epoch=2, batch=32, resolution=SIDE // POOLED)

Attributes = Mapping[str, bool]
Blindspot = dict[str, bool]


@dataclass(frozen=True)
class Design:
    """What a seed draws first: the other layers, and blindspots as attributes with their values."""

    layers: tuple[str, ...]
    blindspots: tuple[Blindspot, ...]

    @property
    def names(self) -> list[str]:
        """All attributes."""
        shapes = [
            f"{shape} {what}" for shape in ("square", *self.layers) for what in ("there", "size", "colour", "stripes")
        ]
        return ["background grey", "background dropout", *shapes, "square two", "square above"]

    def draw(self, n: int, share: float, rng: np.random.Generator) -> list[dict[str, bool]]:
        """Draw the attributes of n pictures, of which so large a share is drawn from blindspots."""
        names, drawn = self.names, []
        for coins, chance in zip(rng.random((n, len(self.names))) < 0.5, rng.random(n), strict=True):
            one = dict(zip(names, coins.tolist(), strict=True))
            if chance < share:
                one |= self.blindspots[int(chance / share * len(self.blindspots))]
            drawn.append(one)
        return drawn

    def inside(self, pictures: list[dict[str, bool]]) -> NDArray[np.bool_]:
        """Return (n, blindspots)."""
        return np.array([[spot.items() <= one.items() for spot in self.blindspots] for one in pictures])


def design(rng: np.random.Generator) -> Design:
    """Draw layers and blindspots."""
    layers = tuple(rng.permutation(OTHERS)[: rng.integers(1, 4)].tolist())
    names = [name for name in Design(layers, ()).names if name != "square there"]
    count, spots = int(rng.integers(1, 4)), list[Blindspot]()
    while len(spots) < count:
        one = _blindspot(names, layers, rng)
        if all(sum(one.get(name) == (not value) for name, value in other.items()) >= 2 for other in spots):
            spots.append(one)
    return Design(layers, tuple(spots))


def _blindspot(names: list[str], layers: tuple[str, ...], rng: np.random.Generator) -> Blindspot:
    """Draw a square and four to six attributes; that another layer is there is one where its looks are."""
    while True:
        chosen = rng.permutation(names)[: rng.integers(4, 7)].tolist()
        spot = {str(name): bool(rng.random() < 0.5) for name in chosen}
        spot |= {
            f"{layer} there": True
            for layer in layers
            if any(f"{layer} {what}" in spot for what in ("size", "colour", "stripes"))
        }
        if 4 <= len(spot) <= 6:
            return {"square there": True, **spot}


# --- pictures -------------------------------------------------------------------------------------------------------


def picture(attributes: Attributes, layers: tuple[str, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one (224, 224, 3), the squares first; no two shapes come nearer than five pixels."""
    image = np.full((SIDE, SIDE, 3), GREYS[attributes["background grey"]], np.uint8)
    if attributes["background dropout"]:
        image[rng.random((SIDE, SIDE)) < DROPOUT] = DROPPED
    boxes: list[tuple[int, int, int, int]] = []
    for shape in ("square", *layers):
        if not attributes[f"{shape} there"]:
            continue
        mask = _mask(shape, attributes[f"{shape} size"])
        colour = COLOURS[attributes[f"{shape} colour"]]
        for _ in range(1 + (shape == "square" and attributes["square two"])):
            above = attributes["square above"] if shape == "square" else None
            top, left = _place(mask.shape, above, boxes, rng)
            part = image[top : top + mask.shape[0], left : left + mask.shape[1]]
            part[mask] = colour
            if attributes[f"{shape} stripes"]:
                part[mask & (np.arange(mask.shape[1]) // STRIPE % 2 == 1)] = 0
    return image


@cache
def _mask(shape: str, small: bool) -> NDArray[np.bool_]:
    if shape == "text":
        font = ImageFont.load_default(FONTS[small])
        left, top, right, bottom = (int(value) for value in font.getbbox("text"))
        canvas = Image.new("1", (right - left, bottom - top))
        ImageDraw.Draw(canvas).text((-left, -top), "text", fill=1, font=font)
        return np.asarray(canvas)
    width, height = SIZES[shape][small]
    if shape == "circle":
        y, x = (np.arange(width) - (width - 1) / 2 for _ in range(2))
        return np.asarray(y[:, None] ** 2 + x**2 <= (width / 2) ** 2)
    return np.ones((height, width), bool)


def _place(
    size: tuple[int, ...], above: bool | None, boxes: list[tuple[int, int, int, int]], rng: np.random.Generator
) -> tuple[int, int]:
    """Return top and left of a free place, in the half that is asked for, and keep it from others."""
    height, width = size
    middle = SIDE // 2
    first = 0 if above in (None, True) else middle
    last = middle - height if above else SIDE - height
    while True:
        top, left = int(rng.integers(first, last + 1)), int(rng.integers(0, SIDE - width + 1))
        box = (top, left, top + height, left + width)
        if not any(_touch(box, other) for other in boxes):
            boxes.append(box)
            return top, left


def _touch(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return all(one[i] < other[i + 2] + MARGIN and other[i] < one[i + 2] + MARGIN for i in (0, 1))


def pictures(drawn: list[dict[str, bool]], layers: tuple[str, ...], rng: np.random.Generator) -> Tensor:
    """Return (n, 3, 56, 56) in [0, 1]."""
    result = torch.empty(len(drawn), 3, SIDE // POOLED, SIDE // POOLED)
    for i, attributes in enumerate(drawn):
        image = torch.from_numpy(picture(attributes, layers, rng)).permute(2, 0, 1).float() / 255
        result[i] = nn.functional.avg_pool2d(image, POOLED)
    return result


# --- networks -------------------------------------------------------------------------------------------------------


def network(outputs: int, seed: int) -> nn.Sequential:
    """Return three convolutions, of which the strongest answer anywhere counts, and two linear layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.BatchNorm2d(3)]
        channels = 3
        for width, stride in WIDTHS:
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(channels, channels), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(channels, outputs))


def problems(seed: int, trained: int = TRAINED, held_out: int = HELD_OUT, rivals: bool = True) -> Iterator[Problem]:
    """Draw, train and yield the one problem of a seed, with a column of truth for each blindspot."""
    rng = np.random.default_rng([*b"spotcheck", seed])
    plan = design(rng)
    learned, shown = (plan.draw(n, IN_BLINDSPOTS, rng) for n in (trained, held_out))
    truth, labels = plan.inside(shown), _labels(shown).astype(np.int64)
    told = torch.from_numpy((_labels(learned) & ~plan.inside(learned).any(axis=1)).astype(np.int64))
    images, test = (pictures(drawn, plan.layers, rng) for drawn in (learned, shown))
    model = train(network(2, seed), images, told, recipe=RECIPE, seed=seed)
    p = class_scores(model, test).double().softmax(1).numpy()
    x = _vectors(plan, trained, test, seed, rng)
    half = held_out // 2
    val, ranked = (
        Samples(x[rows], labels[rows], p[rows], p[rows].argmax(axis=1) == labels[rows])
        for rows in (slice(half), slice(half, None))
    )
    asked = Examples(ranked.labels, images=test[half:])
    hardness = {name: one.hardness(asked) for name, one in _rivals(images, told, seed).items()} if rivals else {}
    part = f"{len(plan.blindspots)} blindspots"
    yield Problem("spotcheck", part, seed, val, ranked, truth[half:], truth[:half], x[:half], hardness)


def _rivals(images: Tensor, told: Tensor, seed: int) -> dict[str, Ranking]:
    settings: dict[str, Any] = {"recipe": RECIPE, "seed": seed}
    return {
        "early-stopped confidence": early_stopped(network(2, seed), images, told, **settings),
        "Learning from Failure": learning_from_failure(network(2, seed), images, told, **settings),
    }


def _labels(drawn: list[dict[str, bool]]) -> NDArray[np.bool_]:
    return np.array([one["square there"] for one in drawn])


def _vectors(plan: Design, n: int, test: Tensor, seed: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Train a second network on the shapes of other pictures; return the test's (n, 128), what it pools and hides."""
    drawn = plan.draw(n, 0.0, rng)
    there = torch.tensor([[one[f"{shape} there"] for shape in ("square", *plan.layers)] for one in drawn]).float()
    net = network(there.shape[1], seed + 1)
    train(net, pictures(drawn, plan.layers, rng), there, recipe=RECIPE, seed=seed, loss=_each_shape)
    pooled = class_scores(net[:-3], test)
    return np.asarray(torch.cat([pooled, net[-3:-1](pooled).detach()], dim=1).float().numpy())


def _each_shape(scores: Tensor, targets: Tensor) -> Tensor:
    """Return (n,) the mean binary cross-entropy."""
    losses = nn.functional.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none")
    return losses.mean(dim=1)
