"""Whether vectors are of the CLIP space that a pipeline decodes."""

from __future__ import annotations

from typing import Any

import pytest

from fdgpu.decoding.spaces import ClipSpace, space_named, space_of_encoder
from fdgpu.errors import InputError


class Named:
    def __init__(self, name: str, dimension: int) -> None:
        self.name, self.dimension = name, dimension


L14 = ClipSpace(768, ("ViT-L-14:openai", "ViT-L-14-quickgelu:openai"))


@pytest.mark.parametrize(
    "clip",
    [
        "ViT-L-14:openai",
        "ViT-L/14:openai",
        "ViT-L-14",
        "ViT-L/14",
        "ViT-L-14:/weights/tuned.pt",
        "local-dir:/weights",
        "hf-hub:openai/clip-vit-base-patch32",
        Named("ViT-L-14-quickgelu:openai", 768),
    ],
)
def test_the_right_space_passes(clip: Any) -> None:
    L14.check(clip, "the pipeline")


@pytest.mark.parametrize(
    ("clip", "says"),
    [
        (
            "ViT-B-32:openai",
            r"decodes vectors of ViT-L-14:openai, not of ViT-B-32:openai: embed with fdgpu.ClipEmbedder",
        ),
        ("ViT-L-14:laion2b_s32b_b82k", "not of ViT-L-14:laion2b_s32b_b82k"),
        ("bundled", "not of bundled"),
        ("ViT-B-32", "not of ViT-B-32"),
        ("ViT-B/32", "not of ViT-B/32"),
        ("ViT-B-32:/weights/tuned.pt", "not of ViT-B-32:/weights/tuned.pt"),
        (Named("ViT-B-16", 768), "not of ViT-B-16"),
        ("", "clip is '': pass an fdgpu.ClipEmbedder, or its name"),
        (3, "clip is 3"),
        (None, "clip is None"),
        (type("Nameless", (), {"name": "ViT-L-14:openai"})(), "clip is .*Nameless.*: pass an fdgpu.ClipEmbedder"),
        (Named("ViT-B-32:openai", 512), r"512 numbers, Unclip decodes vectors of 768: .*\('ViT-L-14', 'openai'\)"),
    ],
)
def test_another_space_is_named(clip: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        L14.check(clip, "Unclip")


def test_spaces_are_recognised() -> None:
    tower = type("Config", (), {"hidden_size": 1280, "num_hidden_layers": 32, "patch_size": 14})
    assert space_of_encoder(tower, 1024).names == ("ViT-H-14:laion2b_s32b_b79k",)
    assert space_of_encoder(tower, 1000).names == ()
    assert space_named("ViT-bigG-14:laion2b_s39b_b160k", 1280).names[0].startswith("ViT-bigG")
    assert space_named("ViT-bigG-14:laion2b_s39b_b160k", 32) == ClipSpace(32)
