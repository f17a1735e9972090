"""The decoder that ships with fdgpu, by its architecture with random weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from fdgpu.decoding import Decoder
from fdgpu.decoding.decoder import SIDE, BundledNet, fold, unfold
from fdgpu.decoding.sampling import picture_seeds
from fdgpu.errors import InputError, MissingExtraError, ModelError
from tests.decoding.tiny import random_net


def test_the_bundled_net_decodes_directions_of_any_length(tmp_path: Path) -> None:
    decoder = Decoder(random_net(tmp_path))
    z = F.normalize(torch.randn(3, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    pictures = decoder.sample(z, 2)
    assert pictures.shape == (3, 3, SIDE, SIDE)
    torch.testing.assert_close(decoder.sample(7 * z, 2), pictures, atol=1e-4, rtol=0)
    torch.testing.assert_close(decoder.sample(z[1:2], 2, picture_seeds(0, 2)[1:]), pictures[1:2], atol=1e-4, rtol=0)
    assert decoder.space.names == ("bundled",)
    with pytest.raises(InputError, match=r"not of ViT-B-32:openai: embed with fdgpu.ClipEmbedder.bundled\(\)"):
        decoder.check("ViT-B-32:openai")


@pytest.mark.parametrize("steps", [1, 3, 7, 15, 40, 67])
def test_the_bundled_net_takes_any_number_of_steps(steps: int, tmp_path: Path) -> None:
    """Where noise is drawn anew, rounding must not leave a first step less than no variance."""
    z = F.normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    assert Decoder(random_net(tmp_path)).sample(z, steps).isfinite().all()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"install fdgpu again, or train it with python -m tools\.train_decoder"):
        BundledNet.load("cpu", tmp_path)


def test_folding_is_undone() -> None:
    pictures = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    latents = fold(pictures)
    assert latents.shape == (2, 12, 16, 16)
    assert latents.abs().max() <= 1
    torch.testing.assert_close(unfold(latents), F.avg_pool2d(pictures.float() / 255, 2), atol=1e-6, rtol=0)


def test_without_diffusers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"the bundled decoder needs diffusers.*pip install 'fdgpu\[decode\]'"):
        Decoder.bundled("cpu")


def test_decoding_is_imported_without_diffusers() -> None:
    code = (
        "import sys; sys.modules['diffusers'] = None; sys.modules['transformers'] = None; "
        "import fdgpu; from fdgpu.decoding import Decoder, decode_grid; "
        "print(fdgpu.slerp([1.0, 0.0], [0.0, 1.0], 0.5).round(3).tolist(), fdgpu.text_to_image.__name__)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("] ") == ["[0.707, 0.707", "text_to_image\n"]
