"""Both experiments run from end to end on a few files, with a stand-in network and the bundled CLIP.

The base model is stood in for by one with errors in every class: by a lottery, or as the pictures themselves say.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from itertools import count, product, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.paper import lab
from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.files import celeba_world, cifar100_world
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen
from benchmarks.paper.spaces import OTHER
from fdgpu import ClipEmbedder, Decoder
from fdgpu.repair import TrainingRecipe
from tests.benchmarks.paper.files.tiny import noise, write_celeba, write_pickled
from tests.benchmarks.paper.lottery import Lottery
from tests.decoding.tiny import random_net

FEW: dict[str, dict[str, Any]] = {
    "celeba": {
        "workers": 0, "strengths": [2, 4], "per_class": 10, "held_out_each": 10, "top": [5, 10], "added": 3,
        "held_out_as_training": 10, "decoder_clip": "bundled",
    },
    "cifar100": {"workers": 0, "top": [5, 10], "added": 3},
}  # fmt: skip
RECIPE = TrainingRecipe(epochs=2, peak_lr=0.1, peak_epoch=1, batch=64, resolution=32)


class Given(nn.Module):
    """Answers with the class that a picture's first value is."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot((x[:, 0, 0, 0] * 255).round().long(), 20).float()


def faces(folder: Path) -> None:
    split_of = [0] * 24 + [1] * 10 + [2] * 8  # of each group
    groups = product((0, 1), (0, 1))
    write_celeba(folder, [(young, male, split) for young, male in groups for split in split_of])


def subclasses(folder: Path) -> None:
    """Write 10 images of every subclass in train and 2 in test, half of them given as the next superclass."""
    rare = EXPERIMENTS["cifar100"].document["on_files"]["rare"]
    root = folder / "cifar-100-python"
    for split, each in (("train", 10), ("test", 2)):
        fine = [kind for _ in range(each) for kind in range(100)]
        coarse = [kind // 5 for kind in fine]
        given = [(label + row // 100 % 2) % 20 for row, label in enumerate(coarse)]
        images = noise(len(fine), each)
        images[:, 0, 0, 0] = torch.tensor(given, dtype=torch.uint8)
        write_pickled(root / split, images, fine_labels=fine, coarse_labels=coarse)
    fine_names = [rare[name] if i == 2 else f"{name}_{i}" for name in rare for i in range(5)]
    names = {"coarse_label_names": list(rare), "fine_label_names": fine_names}
    spelled = {key: [name.replace(" ", "_") for name in own] for key, own in names.items()}
    (root / "meta").write_bytes(pickle.dumps(spelled, 2))


@pytest.mark.parametrize(
    ("name", "write", "answers"),
    [("celeba", faces, (Lottery(number) for number in count())), ("cifar100", subclasses, repeat(Given()))],
    ids=["celeba", "cifar100"],
)
def test_an_experiment_on_files_gives_the_figures_that_its_plot_and_the_paper_have(
    name: str,
    write: Callable[[Path], None],
    answers: Iterator[nn.Module],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Lab, "train", lambda *_, **__: next(answers))
    monkeypatch.setattr(lab, "resnet18", lambda classes, _: stand_in(classes))
    monkeypatch.setattr(celeba_world, "_other_spaces", lambda _: {OTHER: mean_colours})
    monkeypatch.setattr(celeba_world, "_decoder", lambda *_: Decoder(random_net(tmp_path)))
    monkeypatch.setattr(Decoder, "sample", lambda _, vectors, **__: torch.rand(len(vectors), 3, 64, 64))
    for module in (celeba_world, cifar100_world):
        monkeypatch.setattr(module.TrainingRecipe, "named", lambda _: RECIPE)
    write(tmp_path)
    experiment = EXPERIMENTS[name]
    settings = experiment.document["on_files"] | FEW[name]
    figures = experiment.run(experiment.on_files(ClipEmbedder.bundled("cpu"), settings, tmp_path)(0))
    assert len({figure.key for figure in figures}) == len(figures)
    measures = {figure.measure for figure in figures}
    assert {measure for panel in experiment.panels for measure in panel.measures} <= measures
    named = {(figure.measure, figure.method) for figure in figures}
    assert {(measure, method) for measure, method, _ in experiment.paper} <= named
    shares = [figure for figure in figures if not figure.measure.startswith("Pearson")]
    assert [figure for figure in shares if not 0 <= figure.value <= 1] == []


def mean_colours(seen: Seen) -> np.ndarray:
    """Features of a set's images."""
    return np.stack([seen.inputs[row][0].float().mean(dim=(1, 2)).numpy() for row in range(len(seen))])


def stand_in(classes: int) -> nn.Module:
    """Return a network that trains in no time."""
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, classes))
