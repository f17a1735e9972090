from __future__ import annotations

import numpy as np


def unit_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def names(n: int) -> list[str]:
    return [f"caption {i}" for i in range(n)]


def exact(queries: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The k highest inner products of every query, in float64."""
    return -np.sort(-(queries.astype(np.float64) @ rows.astype(np.float64).T), axis=1)[:, :k]
