"""A pipeline is held against the embedder by name, before it is loaded, and runs where everything else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from benchmarks.paper.files import pipelines
from benchmarks.paper.files.pipelines import check_space, load_decoder
from fdgpu.device import Placement
from fdgpu.errors import InputError, ModelError
from tests.decoding import tiny

WANTED = "ViT-L-14:openai"


class Tiny:
    """An embedder as far as a pipeline's check looks at it."""

    name = "tiny"

    def __init__(self, dimension: int = tiny.D) -> None:
        self.dimension = dimension


class Named:
    """Has a name, and must not be asked for more."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, attribute: str) -> Any:
        pytest.fail(f"{attribute} was asked for, which loads the embedder")


@pytest.mark.parametrize("name", [WANTED, "ViT-L-14-quickgelu:openai", "ViT-L-14:/weights.pt", "local-dir:/folder"])
def test_an_embedder_of_the_same_space_passes_by_its_name(name: str) -> None:
    check_space("a/pipeline", WANTED, Named(name))


@pytest.mark.parametrize("name", ["ViT-B-32:openai", "ViT-L-14:laion2b_s32b_b82k", "bundled"])
def test_another_embedder_is_refused_with_the_one_to_use(name: str) -> None:
    with pytest.raises(
        InputError, match=rf"^a/pipeline decodes vectors of {WANTED}, not of {name}: use --clip {WANTED}"
    ):
        check_space("a/pipeline", WANTED, Named(name))


def test_a_pipeline_is_moved_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.device] = []
    pipeline = tiny.stable_unclip()
    pipeline.image_normalizer.mean.data.fill_(0.1)
    device = torch.device("cuda", 3)
    monkeypatch.setattr(pipelines, "choose_device", lambda asked: Placement(device, torch.float16, asked))
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", lambda _: pipeline)
    monkeypatch.setattr(type(pipeline), "to", lambda self, device: moved.append(device) or self)
    assert load_decoder("moved", Tiny()).name == "StableUnCLIPImg2ImgPipeline"
    assert moved == [device]


def test_a_pipeline_whose_vectors_are_of_another_length_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", lambda _: tiny.stable_unclip())
    with pytest.raises(InputError, match=r"tiny gives vectors of 7 numbers, .* decodes vectors of 32"):
        load_decoder("another space", Tiny(7))


def test_a_folder_without_a_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"^{tmp_path} cannot be loaded .*without a network, name a folder in the"):
        load_decoder(str(tmp_path), Tiny())
