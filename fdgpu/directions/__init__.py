"""Embeddings, labels and correctness to failure directions (paper, sections 2 and A.2 to A.4)."""

from fdgpu.directions.estimator import FailureDirections
from fdgpu.directions.fit import Fit
from fdgpu.directions.groups import near_duplicates
from fdgpu.directions.parameters import SearchSettings, Solver, SolverSettings

__all__ = ["FailureDirections", "Fit", "SearchSettings", "Solver", "SolverSettings", "near_duplicates"]
