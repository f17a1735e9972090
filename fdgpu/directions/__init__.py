"""Embeddings, labels and correctness to failure directions (paper, sections 2 and A.2 to A.4)."""

from fdgpu.directions.estimator import FailureDirections

__all__ = ["FailureDirections"]
