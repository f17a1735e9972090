"""The shapes that are measured, by the name that ``--shapes`` takes."""

from __future__ import annotations

import numpy as np

from benchmarks.speed.data import Shape


def _chestxray14() -> Shape:
    """Return 14 findings, there or not: 28 classes of 200 to 8000, each 1.15 times the one before.

    Peers are timed on four of them. The loop alone would take minutes for the largest, and its time grows faster than
    the square of the size, so that fdgpu is timed on the same four as well and only these are compared.
    """
    sizes = np.geomspace(200, 8000, 28).round().astype(int).tolist()
    return Shape("ChestX-ray14: 28 classes of 200 to 8000 x 512", tuple(sizes), 512, timed=(0, 7, 14, 21))


SHAPES = {
    "cifar10": Shape.even("CIFAR-10: 10 x 1000 x 512", 10, 1000, 512, timed=2),
    "celeba": Shape.even("CelebA: 2 x 3590 x 512", 2, 3590, 512),
    "imagenet20": Shape.even("ImageNet 20 %: 1000 x 256 x 512", 1000, 256, 512, timed=4),
    "imagenet50k": Shape.even("ImageNet 50 k: 1000 x 50 x 768", 1000, 50, 768, timed=16),
    "chestxray14": _chestxray14(),
}
QUICK = {
    "even": Shape.even("even: 6 x 64 x 32", 6, 64, 32, timed=2),
    "ragged": Shape("ragged: 3 classes of 40 to 90 x 32", (40, 60, 90), 32, timed=(0, 2)),
}
