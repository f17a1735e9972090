"""Half precision and channels-last on a device: the pictures of float32 on the CPU, within the budget of the type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fdgpu.decoding import Decoder
from fdgpu.decoding.decoder import BundledNet
from fdgpu.decoding.sampling import picture_seeds
from tests.decoding import tiny
from tests.decoding.test_decoder import vectors
from tests.decoding.tiny import random_net

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_the_bundled_net(tmp_path: Path) -> None:
    z = F.normalize(torch.randn(5, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = Decoder(random_net(tmp_path)).sample(z, 5)
    net = BundledNet.load("cuda", tmp_path)
    assert net.dtype == torch.float16
    assert net.net.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    pictures = Decoder(net).sample(z.cuda(), 5)
    assert pictures.is_cuda
    torch.testing.assert_close(pictures.cpu(), expected, atol=3e-2, rtol=0)


@pytest.mark.parametrize("make", [tiny.stable_unclip, tiny.kandinsky, tiny.unclip, tiny.retrieval_augmented])
def test_a_float32_pipeline_computes_in_half(make: Callable[[], Any]) -> None:
    expected = Decoder.from_diffusers(make(), size=16, length=1.0).sample(vectors(5), 3)
    pipeline = make().to("cuda")
    decoder = Decoder.from_diffusers(pipeline, size=16, length=1.0)
    pictures = decoder.sample(vectors(5), 3)  # vectors on the CPU: so are pictures
    assert not pictures.is_cuda
    torch.testing.assert_close(pictures, expected, atol=5e-2, rtol=0)


def test_a_half_pipeline_stays_half() -> None:
    pipeline = tiny.stable_unclip().to("cuda", torch.float16)
    decoder = Decoder.from_diffusers(pipeline, length=1.0)
    pictures = decoder.sample(vectors(3).cuda().half(), 3)
    assert pictures.dtype == torch.float32
    assert pictures.isfinite().all()
    alone = decoder.sample(vectors(3)[1:2].cuda().half(), 3, picture_seeds(0, 2)[1:])
    torch.testing.assert_close(pictures[1:2], alone, atol=5e-2, rtol=0)
