"""Figure 8b on files in CIFAR-10's format, with a tiny pipeline of a real class and a lottery for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.experiments.decoding import EASY, FREE, HARD
from benchmarks.paper.files import decoded_world
from benchmarks.paper.files.cifar import CIFAR10_NAMES
from benchmarks.paper.files.images import at_resolution
from benchmarks.paper.files.pipelines import load_decoder
from benchmarks.paper.lab import Lab
from fdgpu.errors import InputError, ModelError
from tests.benchmarks.paper.files.test_natural_on_files import write_cifar10
from tests.benchmarks.paper.lottery import Lottery
from tests.decoding import tiny

SIDE = 24  # of the base model's images; CIFAR's have 32, the tiny pipeline's 16
RECIPE = {"epochs": 1, "peak_lr": 0.1, "peak_epoch": 1, "batch": 16, "resolution": SIDE}
PICTURES = 3


class TinyClip:
    """Embeds by a projection that never changes, into the space of the tiny pipelines."""

    name, dimension = "tiny", tiny.D

    def __init__(self) -> None:
        self.read: list[str] = []

    def images(self, images: Tensor) -> Tensor:
        return self._projected(images.flatten(1).float() - 127.5)

    def texts(self, captions: list[str]) -> Tensor:
        self.read += captions
        letters = [[float(caption.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for caption in captions]
        return self._projected(torch.tensor(letters))

    def _projected(self, rows: Tensor) -> Tensor:
        matrix = torch.randn(rows.shape[1], tiny.D, generator=torch.Generator().manual_seed(0))
        return F.normalize(rows @ matrix, dim=1)


class Sized(Lottery):
    """A lottery that takes images of one size, and whose answers do not hang on how numbers are rounded."""

    def __init__(self) -> None:
        super().__init__(0)
        self.rate = 500.0

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, SIDE, SIDE)
        assert 0 <= x.min() <= x.max() <= 1
        return super().forward(x)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Those of the experiment, for a few files and a pipeline in a folder."""
    write_cifar10(tmp_path)
    pipeline = tiny.stable_unclip()
    pipeline.image_normalizer.mean.data.fill_(0.1)  # as if it knew how long its vectors are
    pipeline.save_pretrained(tmp_path / "pipeline")
    monkeypatch.setattr(Lab, "train", lambda *_, **__: Sized())
    few = {"workers": 0, "recipe": RECIPE, "alphas": [0.1], "pictures": PICTURES, "at_once": 2, "steps": 2}
    own = {"decoder": str(tmp_path / "pipeline"), "clip": "tiny"}
    return EXPERIMENTS["decoding"].document["on_files"] | few | own


def test_a_weak_models_directions_are_decoded_and_named(settings: dict[str, Any], tmp_path: Path) -> None:
    experiment, clip = EXPERIMENTS["decoding"], TinyClip()
    world_of = experiment.on_files(clip, settings, tmp_path)
    figures = experiment.run(world_of(0))
    assert {figure.key for figure in figures} == {(FREE, side, at) for side in (EASY, HARD) for at in (0.0, 0.1)}
    assert [figure for figure in figures if not 0 <= figure.value <= 1] == []
    assert {(measure, method) for measure, method, _ in experiment.paper} <= {figure.key[:2] for figure in figures}
    concluded = {summary.measure for summary in experiment.summary([figures])} - {FREE}
    assert concluded == {"least gap, nothing planted", "least rise towards easy, nothing planted"}
    assert clip.read == [f"a photo of a {name}" for name in CIFAR10_NAMES]


def test_accuracies_are_the_models_on_what_the_pipeline_makes_of_the_directions(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    experiment, world = EXPERIMENTS["decoding"], decoded_world.on_files(TinyClip(), settings, tmp_path)(0)
    found = {figure.key: figure.value for figure in experiment.run(world)}
    free, model, decoder = world.free(), Sized(), world.decoder()
    assert not free.fit.whiten
    two = [f"a photo of a {name}" for name in CIFAR10_NAMES[:2]]  # of the ten classes the files hold these
    torch.testing.assert_close(free.references, TinyClip().texts(two))
    w = torch.as_tensor(free.fit.directions_)[:, 0].float()
    for side, alpha in ((EASY, 0.0), (EASY, 0.1), (HARD, 0.1)):
        turned = _slerp(free.references, w if side == EASY else -w, alpha)
        right = []
        for label in (0, 1):
            pictures = decoder.sample(turned[label].expand(PICTURES, -1), settings["steps"], list(range(PICTURES)))
            right.append(model(at_resolution(pictures, SIDE)).argmax(1) == label)
        assert found[FREE, side, alpha] == pytest.approx(float(torch.cat(right).float().mean()))


def _slerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    angle = torch.arccos((a * b).sum(1, keepdim=True))
    return (torch.sin((1 - alpha) * angle) * a + torch.sin(alpha * angle) * b) / torch.sin(angle)


def test_a_pipeline_of_another_space_is_refused_before_it_is_loaded(settings: dict[str, Any], tmp_path: Path) -> None:
    of_another = settings | {"clip": "ViT-L-14:openai", "decoder": "a/pipeline"}
    with pytest.raises(InputError, match=r"a/pipeline decodes vectors of ViT-L-14:openai, not of tiny: use --clip ViT"):
        decoded_world.on_files(TinyClip(), of_another, tmp_path)


def test_without_a_pipeline_nothing_is_trained(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "train", lambda *_, **__: pytest.fail("a model was trained"))
    (tmp_path / "empty").mkdir()
    world = decoded_world.on_files(TinyClip(), settings | {"decoder": str(tmp_path / "empty")}, tmp_path)(0)
    with pytest.raises(ModelError, match="empty cannot be loaded"):
        EXPERIMENTS["decoding"].run(world)


def test_seeds_share_one_pipeline(settings: dict[str, Any], tmp_path: Path) -> None:
    world_of = decoded_world.on_files(TinyClip(), settings, tmp_path)
    assert world_of(0).decoder() is world_of(1).decoder() is load_decoder(settings["decoder"], world_of(0).clip)
