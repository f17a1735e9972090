"""Other latent spaces: the base model's own, torchvision's and timm's."""

from __future__ import annotations

import copy

import pytest
import torch
from PIL import Image
from torch import nn

from fdgpu.embedding import FeatureEmbedder
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from fdgpu.networks import penultimate

PICTURES = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))


def test_the_base_models_own_space_is_its_penultimate_layer() -> None:
    model = network()
    embedder = FeatureEmbedder(model, (16, 16), device="cpu", batch_size=2)
    vectors = embedder.images(PICTURES)
    assert embedder.dimension == 6
    torch.testing.assert_close(vectors, nn.functional.normalize(penultimate(model, PICTURES), dim=1))


def test_it_takes_what_every_embedder_takes(tmp_path) -> None:
    embedder = FeatureEmbedder(network(), (16, 16), mean=(0.5,) * 3, std=(0.2,) * 3, device="cpu")
    for index, picture in enumerate(PICTURES):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    torch.testing.assert_close(embedder.images(tmp_path), embedder.images(PICTURES))
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.warns(FdgpuWarning, match="1 of 5 images could not be read"):
        vectors = embedder.images(tmp_path)
    assert vectors.isnan().all(1).tolist() == [False, False, True, False, False]


def test_torchvision_and_timm_without_their_weights() -> None:
    resnet = FeatureEmbedder.torchvision("resnet18", weights=None, device="cpu")
    assert (resnet.name, resnet.dimension) == ("torchvision:resnet18", 512)
    assert (resnet.preprocess.size, resnet.preprocess.scaled) == ((224, 224), (256, 256))  # the centre is cropped
    small = FeatureEmbedder.timm("test_resnet.r160_in1k", pretrained=False, device="cpu")
    assert (small.preprocess.size, small.preprocess.scaled) == ((160, 160), (168, 168))  # 160 / 0.95
    assert small.images(PICTURES[:2]).shape == (2, small.dimension)
    torch.testing.assert_close(small.images(PICTURES[:2]).norm(dim=1), torch.ones(2))


def test_the_precision_that_was_asked_for() -> None:
    torch.manual_seed(0)
    exact = FeatureEmbedder(network(), (16, 16), device="cpu")
    own = FeatureEmbedder(copy.deepcopy(exact.model), (16, 16), device="cpu", precision="bfloat16")
    vectors = own.images(PICTURES)
    assert next(own.model.parameters()).dtype == own.placement.dtype == torch.bfloat16
    assert vectors.dtype == torch.float32
    assert (vectors * exact.images(PICTURES)).sum(dim=1).min() >= 0.999


def test_models_that_are_none() -> None:
    with pytest.raises(ModelError, match="torchvision has no 'resnet19'"):
        FeatureEmbedder.torchvision("resnet19")
    with pytest.raises(ModelError, match="timm has no 'resnet19'"):
        FeatureEmbedder.timm("resnet19", pretrained=False)
    with pytest.raises(InputError, match="straight from a linear layer"):
        FeatureEmbedder(network()[:-1], (16, 16), device="cpu")
    with pytest.raises(InputError, match="resize_mode is 'crop': use one of shortest, squash, longest"):
        FeatureEmbedder(network(), (16, 16), resize_mode="crop")
    with pytest.raises(InputError, match="batch_size is 0"):
        FeatureEmbedder(network(), (16, 16), batch_size=0)
