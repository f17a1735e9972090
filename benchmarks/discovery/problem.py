"""What every method is given, and what it is judged by: one problem of one setting and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from fdgpu.files import write_atomically

Floats = NDArray[np.float64]
LEAST = 1e-12  # probability of a label, below which its loss is not told apart


@dataclass(frozen=True)
class Samples:
    """Vectors, and what the model answered.

    Attributes:
        x: (n, d) float32 embeddings.
        labels: (n,) class ids from 0.
        probabilities: (n, k) of the classes.
        correct: (n,) bool.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64]
    probabilities: Floats
    correct: NDArray[np.bool_]

    @property
    def loss(self) -> Floats:
        """(n,) cross-entropy."""
        true = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)[:, 0]
        return np.asarray(-np.log(true.clip(LEAST)))


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        setting: its name.
        part: which of the setting's problems at this seed, such as a strength or a condition; "" of the only one.
        seed: that everything was drawn by.
        val: what methods are fitted on.
        test: what they rank.
        truth: (n_test, s) bool, which samples of test lie in which planted slice; s = 0 where nothing is planted.
        val_truth: (n_val, s) the same of val, which only the probe is told.
        reference: (m, d) embeddings that whiten.
        trained: the hardness (n_test,), lower is harder, by rivals that train networks of their own.
        groups: (n_val,) which samples of val belong together, such as near-duplicates; None where none do.
    """

    setting: str
    part: str
    seed: int
    val: Samples
    test: Samples
    truth: NDArray[np.bool_]
    val_truth: NDArray[np.bool_]
    reference: NDArray[np.float32]
    trained: Mapping[str, Floats] = field(default_factory=dict)
    groups: NDArray[np.int64] | None = None

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        arrays = {
            f"{name}.{key}": np.ascontiguousarray(value)
            for name, samples in (("val", self.val), ("test", self.test))
            for key, value in vars(samples).items()
        }
        arrays |= {"truth": self.truth, "val_truth": self.val_truth, "reference": self.reference}
        arrays |= {f"trained.{name}": np.ascontiguousarray(values) for name, values in self.trained.items()}
        if self.groups is not None:
            arrays["groups"] = self.groups
        about = json.dumps({"setting": self.setting, "part": self.part, "seed": self.seed})
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(arrays, metadata={"problem": about}))

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="numpy") as stored:
            about = json.loads(stored.metadata()["problem"])
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no mapping

        def under(name: str) -> dict[str, Any]:
            return {key[len(name) + 1 :]: value for key, value in arrays.items() if key.startswith(f"{name}.")}

        return cls(
            **about,
            val=Samples(**under("val")),
            test=Samples(**under("test")),
            truth=arrays["truth"],
            val_truth=arrays["val_truth"],
            reference=arrays["reference"],
            trained=under("trained"),
            groups=arrays.get("groups"),
        )
