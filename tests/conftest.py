"""What every test shares: data with a planted failure, and empty memory that cannot pass for a result."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Problems and nets of the tests are tiny: threads of a BLAS would spend the time in waiting for each other. Whatever is
# loaded after this line reads it, and so do the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from tests.bare import BareEnvironment, project

settings.register_profile("fdgpu", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("fdgpu")


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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with ``photos/`` of grey squares, and ``predictions.csv`` of a model that is wrong on dark ones."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    rows = []
    for i in range(60):
        level, label = int(rng.integers(0, 256)), ("cat", "dog")[i % 2]
        Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / "photos" / f"{i}.png")
        predicted = label if level > 90 else ("dog", "cat")[i % 2]
        rows.append((f"{i}.png", label, predicted, ("val", "test")[i % 3 == 0], "0.9"))
    with (tmp_path / "predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "label", "prediction", "split", "confidence"), *rows])
    return tmp_path


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


FIRST = (  # what takes longest; in a new checkout the first compiles the solver, and the second has no use for it
    "demo/test_demo.py",
    "report/test_browser.py",
    "demo/test_folder.py",
    "benchmarks/test_device.py",
    "test_cluster.py",
    "auditing/test_on_the_device.py",
    "kernels/test_in_the_interpreter.py",
    "test_cli.py",
    "test_packaging.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what takes longest, so that no worker waits for it at the end."""
    rank = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
