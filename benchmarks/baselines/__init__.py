"""What failure directions are compared with (paper, B.1.5): other ways to rank examples by hardness."""

from benchmarks.baselines.confidence import Confidence, ModelConfidence, early_stopped, learning_from_failure
from benchmarks.baselines.domino import Domino
from benchmarks.baselines.ranking import Chance, Examples, Ranking

__all__ = [
    "Chance",
    "Confidence",
    "Domino",
    "Examples",
    "ModelConfidence",
    "Ranking",
    "early_stopped",
    "learning_from_failure",
]
