from __future__ import annotations

import numpy as np
import pytest
import torch

from fdgpu.kernels import alignments as module
from fdgpu.kernels.alignments import alignments, caption_differences, relative


def units(seed: int, *shape: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_it_is_its_definition_in_any_chunks(rows: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", {"cpu": 8 * 12 * rows})
    captions, reference, w = units(0, 30, 12).to(dtype), units(1, 12).to(dtype), units(2, 3, 12)
    scale = torch.linspace(0.1, 2, 12, dtype=torch.float64)
    d = (captions.double().numpy() - reference.double().numpy()) / scale.numpy()
    expected = d / np.linalg.norm(d, axis=1, keepdims=True) @ w.double().numpy().T
    assert np.allclose(alignments(captions, reference, w, scale), expected, atol=1e-12)
    assert np.allclose(alignments(captions, reference, w[1], scale), expected[:, 1], atol=1e-12)
    assert (np.abs(expected) <= 1 + 1e-6).all()  # a unit w: the cosine


def test_the_reference_has_no_direction_and_nothing_has_no_alignment() -> None:
    captions = units(3, 4, 6)
    captions[2] = captions[0] + 1e-7
    found = caption_differences(captions, captions[0], torch.ones(6))
    assert found.isnan().all(dim=1).tolist() == [True, False, True, False]
    assert torch.allclose(found[1].norm(), torch.ones((), dtype=torch.float64))
    assert alignments(captions[:0], captions[0], captions[1], torch.ones(6)).shape == (0,)


@pytest.mark.parametrize("power", [-1060, -1000, -600, 0, 600, 1000])
def test_a_common_factor_of_the_scale_changes_nothing(power: int) -> None:
    captions, reference, w = units(0, 30, 12), units(1, 12), units(2, 3, 12)
    scale = torch.arange(1, 13, dtype=torch.float64) / 4
    tiny_and_large = scale * 2.0**power
    assert torch.equal(relative(tiny_and_large), relative(scale))
    assert torch.equal(alignments(captions, reference, w, tiny_and_large), alignments(captions, reference, w, scale))


def test_scales_as_far_apart_as_float64_holds_leave_no_nan() -> None:
    scale = torch.tensor([5e-324, 1.0, 1.7e308], dtype=torch.float64)
    assert caption_differences(units(0, 9, 3), units(1, 3), scale).isfinite().all()
