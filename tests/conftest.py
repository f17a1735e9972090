"""What every test shares: data with a planted failure, and empty memory that cannot pass for a result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from tests.bare import BareEnvironment, project


@dataclass(frozen=True)
class ClassData:
    x: np.ndarray  # (n, d) float32 unit rows
    right: np.ndarray  # (n,) bool
    direction: np.ndarray  # (d,) unit, from hard to easy


def make_class(n: int, d: int, errors: float, separation: float, seed: int) -> ClassData:
    """Unit vectors whose wrong samples are shifted against a random direction; exactly ``errors`` of them."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    right = np.ones(n, bool)
    right[rng.permutation(n)[: max(1, round(errors * n))]] = False
    x = rng.normal(size=(n, d)) + np.where(right, separation, -separation)[:, None] * direction
    return ClassData((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), right, direction)


def load_jax() -> Any:
    """JAX with two devices, which it takes only before it starts: every test that uses it loads it here."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    if jax.config.jax_num_cpu_devices != 2:
        jax.config.update("jax_num_cpu_devices", 2)
    return jax


@pytest.fixture
def planted_class() -> Callable[..., ClassData]:
    return make_class


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    """An environment without any extra."""
    return BareEnvironment(tmp_path_factory.mktemp("bare"), project()["dependencies"])


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """``empty`` holds NaN in tests, so that a value that nobody wrote cannot look right by luck."""
    plain = torch.empty

    def poisoned(*args: object, **kwargs: object) -> torch.Tensor:
        tensor = plain(*args, **kwargs)
        return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(torch, "empty", poisoned)
