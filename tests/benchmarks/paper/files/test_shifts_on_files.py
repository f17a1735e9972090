"""Coloured MNIST, ImageNet-C and ChestX-ray14 run from end to end on tiny files, with a lottery for a model."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.lab import Lab
from fdgpu import ClipEmbedder
from tests.benchmarks.paper.files.tiny import write_idx, write_image, write_xrays
from tests.benchmarks.paper.lottery import Lottery


def write_digits(folder: Path) -> None:
    """200 and 100 images of noise, each digit equally often."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 200), ("t10k", 100)):
        generator = torch.Generator().manual_seed(n)
        write_idx(raw / f"{part}-images-idx3-ubyte", torch.randint(256, (n, 28, 28), generator=generator))
        write_idx(raw / f"{part}-labels-idx1-ubyte", torch.arange(n) % 10)


def write_two_classes(folder: Path) -> None:
    """80 and 25 images of each of two classes."""
    numbers = count()
    for split, n in (("train", 80), ("val", 25)):
        for wnid in ("n01440764", "n02114712"):
            own = folder / split / wnid
            own.mkdir(parents=True)
            for number in range(n):
                write_image(own / f"{wnid}_{number}.JPEG", next(numbers), (9, 9))


def write_patients(folder: Path) -> None:
    """200 patients, a third of them lying, with one condition, two, or none."""
    names = [f"{number:08d}_000.png" for number in range(200)]
    findings = ("No Finding", "Effusion", "Effusion|Mass", "Mass")
    views = ("AP", "PA", "PA")
    rows = [
        f"{name},{findings[number % 4]},0,{number},50,M,{views[number % 3]},20,20,0.1,0.1,"
        for number, name in enumerate(names)
    ]
    write_xrays(folder, rows, names[:160], names[160:])


WRITERS = {"coloured_mnist": write_digits, "imagenet_c": write_two_classes, "chestxray14": write_patients}
SETTINGS = {
    "coloured_mnist": {"shares": [0.6, 0.8, 0.9], "top": [5]},
    "imagenet_c": {"top": [5], "val": 0.5},
    "chestxray14": {"top": [5]},
}


@pytest.fixture
def quick_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images at 16 pixels, no further process, and no training."""
    on_files, numbers = Lab.on_files, count()

    def small(clip: Any, recipe: Any, **more: Any) -> Lab:
        return on_files(clip, type(recipe)(2, 0.1, 1, 8, 16), workers=0, **more)

    monkeypatch.setattr(Lab, "on_files", small)
    monkeypatch.setattr(Lab, "train", lambda _, __, labels, *___, **____: Lottery.of(next(numbers), labels))
    monkeypatch.setattr("benchmarks.paper.experiments.chestxray14.best_f1_threshold", lambda *_: 0.5)


@pytest.mark.usefixtures("quick_lab")
@pytest.mark.parametrize("name", WRITERS)
def test_an_experiment_runs_on_its_data_sets_files(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    experiment = EXPERIMENTS[name]
    world_of = experiment.on_files(
        ClipEmbedder.bundled("cpu"), experiment.document["on_files"] | SETTINGS[name], tmp_path
    )
    figures = experiment.run(world_of(0))
    measures = {figure.measure for figure in figures}
    assert {measure for panel in experiment.panels for measure in panel.measures} <= measures
    assert [figure for figure in figures if not np.isfinite(figure.value)] == []
    assert CHECKS[name](world_of)


def digits_are_split_and_tinted(world_of: Any) -> bool:
    world = world_of(1)
    train, val = world.train(0.9), world.val()
    assert (len(train), len(val)) == (160, 40)
    assert val.kinds.bincount().tolist() == [4] * 10  # a fifth of each digit
    wrong = [float((seen.labels != (seen.kinds >= 5).long()).float().mean()) for seen in (train, val, world.test())]
    assert 0.15 < wrong[0] < 0.35
    assert wrong[1:] == [0, 0]
    colours = train.marked.images.float().mean((2, 3))
    assert torch.equal(colours[:, 1] > colours[:, 0], (train.labels == 1) ^ train.minority)
    return bool((colours[:, 2] == 0).all())


def noise_is_a_share_of_each_class_and_parts_do_not_overlap(world_of: Any) -> bool:
    world = world_of(0)
    train, val, test = world.train(), world.val(), world.test()
    assert [len(seen) for seen in (train, val, test)] == [64, 80, 50]
    assert not set(train.marked.images) & set(val.marked.images)
    assert [int(seen.minority.sum()) for seen in (train, val)] == [6, 40]
    clean = replace(world, settings=world.settings | {"deviation": 1e-9})
    for seen, same in ((train, clean.train()), (val, clean.val()), (test, clean.test())):
        moved = [not torch.equal(seen.inputs[row][0], same.inputs[row][0]) for row in range(len(seen))]
        assert moved == seen.minority.tolist()
        assert (np.abs(seen.embeddings - same.embeddings).max(1) > 1e-4).tolist() == moved
    return bool(np.isfinite(test.embeddings).all())


def xrays_are_embedded_once(world_of: Any) -> bool:
    train, val, test = (set(seen.marked.files) for seen in (world_of(0).train(), world_of(0).val(), world_of(0).test()))
    assert len(test) == 40
    assert len(train) + len(val) == 160
    assert not train & val
    assert not train & test
    assert not val & test
    assert world_of(0).val().labels.shape[1] == 14
    return world_of(0).test() is world_of(1).test()


CHECKS = {
    "coloured_mnist": digits_are_split_and_tinted,
    "imagenet_c": noise_is_a_share_of_each_class_and_parts_do_not_overlap,
    "chestxray14": xrays_are_embedded_once,
}
