"""How much is measured: on a device enough to fill it, in a try on the CPU enough to run every line."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.speed.data import SHAPES, Shape


@dataclass(frozen=True)
class Sizes:
    """The sizes of every part.

    Attributes:
        tests: where pytest looks for tests that need a device.
        shapes: of the solver.
        permuted: shape of the permutation test, with so many ``permutations`` a class.
        cuml: shape for cuML, which solves problem after problem.
        captions: rows of the alignment, of ``dimension`` entries.
        model: the CLIP whose towers are measured: "ViT-B-32" with random weights, or "bundled".
        grammar: the recipe whose captions are encoded.
        images: how many are encoded at a time.
        indexed: vectors of an index, which ``queries`` directions ask for their ten hardest.
        classes: that are decoded, with each number of ``seeds``, in ``steps`` (None: the decoder's own).
        every: one photograph in so many of the bundled world is audited.
        scale: of the copy and the matrix product that show what the device can do at most.
        rounds: how often a thing is timed.
        budget_s: seconds a slow peer may take of a shape's rounds.
    """

    tests: str = "tests"
    shapes: tuple[Shape, ...] = (SHAPES["imagenet20"], SHAPES["cifar10"])
    permuted: Shape = SHAPES["imagenet20"]
    permutations: int = 200
    cuml: Shape = field(default_factory=lambda: Shape.even("20 x 1000 x 512", 20, 1000, 512, timed=2))
    captions: int = 1_000_000
    dimension: int = 512
    model: str = "ViT-B-32"
    grammar: str = "imagenet"
    images: int = 2048
    indexed: int = 1_000_000
    queries: int = 1000
    classes: int = 10
    seeds: tuple[int, ...] = (1, 4)
    steps: int | None = None
    every: int = 1
    scale: float = 1.0
    rounds: int = 3
    budget_s: float = 10.0


FULL = Sizes()
SMALL = Sizes(
    tests="tests/kernels/test_smo_triton.py",
    shapes=(Shape.even("6 x 64 x 32", 6, 64, 32, timed=2),),
    permuted=Shape.even("6 x 64 x 32", 6, 64, 32),
    permutations=20,
    cuml=Shape.even("2 x 64 x 32", 2, 64, 32),
    captions=5000,
    dimension=64,
    model="bundled",
    grammar="celeba",
    images=64,
    indexed=5000,
    queries=20,
    classes=1,
    seeds=(1,),
    steps=2,
    every=16,
    scale=1 / 64,
    rounds=1,
    budget_s=1.0,
)
