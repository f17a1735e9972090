"""What failure directions are compared with (paper, B.1.5): other ways to rank examples by hardness."""

from benchmarks.baselines.domino import Domino
from benchmarks.baselines.planespot import PlaneSpot
from benchmarks.baselines.ranking import (
    Chance,
    Confidence,
    Examples,
    GeneralisedCrossEntropy,
    ModelConfidence,
    Ranking,
    early_stopped,
    learning_from_failure,
)
from benchmarks.baselines.spotlight import Spotlight

__all__ = [
    "Chance",
    "Confidence",
    "Domino",
    "Examples",
    "GeneralisedCrossEntropy",
    "ModelConfidence",
    "PlaneSpot",
    "Ranking",
    "Spotlight",
    "early_stopped",
    "learning_from_failure",
]
