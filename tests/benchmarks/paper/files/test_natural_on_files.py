"""CIFAR-10 and ImageNet from files: both experiments run from end to end on a few images of two classes."""

from __future__ import annotations

import copy
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import VisionTransformer

from benchmarks.paper.experiment import Experiment
from benchmarks.paper.experiments import cifar10, imagenet
from benchmarks.paper.lab import Lab
from benchmarks.paper.results import Figure
from fdgpu import ClipEmbedder
from tests.benchmarks.paper.files.tiny import noise, write_image, write_pickled
from tests.benchmarks.paper.grey_pipeline import GreyPipeline
from tests.benchmarks.paper.lottery import Lottery

RECIPE = {"epochs": 1, "peak_lr": 0.1, "peak_epoch": 1, "batch": 16, "resolution": 24}
FISH = ["n01440764", "n01443537"]  # tench and goldfish


@pytest.fixture(autouse=True)
def lotteries(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count()
    for training in ("train", "fine_tune"):
        monkeypatch.setattr(Lab, training, lambda *_, **__: Lottery(next(numbers)))


def write_cifar10(folder: Path) -> None:
    """Write airplanes and automobiles, as far as noise can be one."""
    for number, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        write_pickled(folder / "cifar-10-batches-py" / name, noise(40, number), labels=[0, 1] * 20)


def write_imagenet(folder: Path) -> None:
    for split, each in (("train", 60), ("val", 20)):
        for label, wnid in enumerate(FISH):
            (folder / split / wnid).mkdir(parents=True)
            for number in range(each):
                write_image(folder / split / wnid / f"{number}.JPEG", 2 * number + label + len(split))


def figures(experiment: Experiment, folder: Path, few: dict[str, Any]) -> list[Figure]:
    settings = copy.deepcopy(experiment.document["on_files"]) | {"workers": 0} | few
    return experiment.run(experiment.on_files(ClipEmbedder.bundled("cpu"), settings, folder)(0))


def check(experiment: Experiment, found: list[Figure]) -> None:
    assert {measure for panel in experiment.panels for measure in panel.measures} <= {f.measure for f in found}
    assert [figure for figure in found if not 0 <= figure.value <= 1] == []


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path)
    monkeypatch.setattr(cifar10.Cifar10, "painter", lambda _: GreyPipeline())
    few = {"recipe": RECIPE, "top": [3, 6], "added": 5, "trainings": 1, "pictures": 2}
    found = figures(cifar10.EXPERIMENT, tmp_path, few)
    check(cifar10.EXPERIMENT, found)
    assert {f.method for f in found if f.measure == "filtering: overall"} == {
        "base", "fdgpu", "fdgpu, latent", "confidence", "random",
    }  # fmt: skip


def test_cifar10_without_a_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds no pipeline is not asked of a hub."""
    write_cifar10(tmp_path)
    (tmp_path / "empty").mkdir()
    settings = {"recipe": RECIPE, "workers": 0, "text_to_image": str(tmp_path / "empty")}
    assert cifar10.on_files(None, settings, tmp_path)(0).painter() is None
    assert "pictures of captions are left out" in capsys.readouterr().out


def test_imagenet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_imagenet(tmp_path)
    found = figures(imagenet.EXPERIMENT, tmp_path, {"recipe": RECIPE, "top": [3, 6], "bars_at": 3})
    check(imagenet.EXPERIMENT, found)
    assert {f.method for f in found if f.measure == "own hard"} == {"first run", "second run", "ResNet-50"}
    assert "ViT-B is left out: its weights know 1000 classes, the folder holds 2" in capsys.readouterr().out


def test_a_pretrained_network_is_given_what_its_weights_expect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of the mean colour of ImageNet are zeros to it."""
    write_imagenet(tmp_path)
    tiny = VisionTransformer(32, 16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8, num_classes=2)
    torch.nn.init.normal_(tiny.heads[-1].weight)
    asked = []
    monkeypatch.setattr(imagenet, "CLASSES", 2)
    monkeypatch.setattr(imagenet, "get_model", lambda name, weights: asked.append((name, weights)) or tiny)
    world = imagenet.on_files(None, {"recipe": RECIPE, "workers": 0}, tmp_path)(0)
    model = world.pretrained("ViT-B", "vit_b_16")
    assert model is not None
    assert asked == [("vit_b_16", "DEFAULT")]
    mean = torch.tensor(imagenet.MEAN)[None, :, None, None].expand(1, 3, 32, 32)
    assert torch.allclose(model.cpu()(mean), tiny(torch.zeros(1, 3, 32, 32)), atol=1e-5)
