"""What every decoder promises: a picture of its own for each vector, and no other's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import fdgpu
from fdgpu.decoding import Decoder
from fdgpu.errors import InputError, ModelError
from tests.decoding import tiny


def decoder_of(batch_size: int = 16) -> Decoder:
    return Decoder.from_diffusers(tiny.retrieval_augmented(), batch_size=batch_size)


def vectors(n: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(n, tiny.D, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture(scope="module")
def whole() -> Tensor:
    """Seven pictures, decoded together."""
    return torch.as_tensor(decoder_of().sample(vectors(7), 3, list(range(7))))


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=7), st.integers(1, 4))
def test_a_picture_is_its_vectors_and_seeds_alone(whole: Tensor, rows: list[int], batch_size: int) -> None:
    some = decoder_of(batch_size).sample(vectors(7)[rows], 3, rows)
    torch.testing.assert_close(some, whole[rows], atol=1e-4, rtol=0)


def test_memory_that_runs_out_halves_the_batch_and_changes_no_picture(
    whole: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = decoder_of()
    net, sizes = decoder._denoiser.net, []  # type: ignore[attr-defined]
    forward = net.forward

    def short_of_memory(rows: Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(rows))
        if len(rows) > 4:
            raise torch.OutOfMemoryError("no room for more than two pictures with guidance")
        return forward(rows, *args, **kwargs)

    monkeypatch.setattr(net, "forward", short_of_memory)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    pictures = decoder.sample(vectors(7), 3, list(range(7)))
    torch.testing.assert_close(pictures, whole, atol=1e-4, rtol=0)
    assert max(sizes) == 14
    tried = len(sizes)
    decoder.sample(vectors(7), 1)
    assert max(sizes[tried:]) == 4  # what did not fit is not tried again


def test_decoding_latents_halves_by_itself(whole: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, asked = decoder_of(), []
    vae = decoder._denoiser.pipeline.vae  # type: ignore[attr-defined]
    decode = vae.decode

    def short_of_memory(latents: Tensor, **kwargs: Any) -> Any:
        asked.append(len(latents))
        if len(latents) > 3:
            raise torch.OutOfMemoryError("no room for four")
        return decode(latents, **kwargs)

    monkeypatch.setattr(vae, "decode", short_of_memory)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    torch.testing.assert_close(decoder.sample(vectors(7), 3, list(range(7))), whole, atol=1e-4, rtol=0)
    assert asked[0] == 7
    assert sum(size for size in asked if size <= 3) == 7


def test_one_seed_gives_every_picture_its_own_noise() -> None:
    decoder = decoder_of()
    same = decoder.sample(vectors(1).repeat(2, 1), 2, 0)
    assert (same[0] - same[1]).abs().max() > 0.01
    torch.testing.assert_close(decoder.sample(vectors(1), 2, 0)[0], same[0], atol=1e-4, rtol=0)


def test_gives_back_the_callers_kind() -> None:
    decoder = decoder_of()
    pictures = decoder.sample(vectors(2), 2)
    assert isinstance(pictures, Tensor)
    assert not pictures.requires_grad
    assert not pictures.is_inference()  # they may be trained on
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    host = decoder.sample(vectors(2).double().numpy(), 2)
    assert isinstance(host, np.ndarray)
    assert host.dtype == np.float32
    np.testing.assert_allclose(host, pictures.numpy(), atol=1e-4)
    assert decoder.sample(vectors(0), 2).shape == (0, 3, 16, 16)


def test_progress_counts_pictures() -> None:
    reports: list[tuple[str, int, int | None]] = []
    decoder_of(batch_size=2).sample(vectors(4), 2, progress=lambda *report: reports.append(report))
    assert {stage for stage, _, _ in reports} == {"decode pictures"}
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)
    assert reports[-1] == ("decode pictures", 4, 4)


def test_the_pipelines_scheduler_is_left_alone() -> None:
    pipeline = tiny.retrieval_augmented()
    before = pipeline.scheduler.timesteps.clone()
    Decoder.from_diffusers(pipeline).sample(vectors(1), 2)
    assert torch.equal(pipeline.scheduler.timesteps, before)


@pytest.mark.parametrize(
    ("embeddings", "arguments", "says"),
    [
        (torch.ones(2, tiny.D + 1), {}, "vectors of 33 numbers, RDMPipeline decodes vectors of 32"),
        (torch.ones(tiny.D), {}, "pass vectors"),
        (torch.full((1, tiny.D), float("nan")), {}, "NaN or infinity in 1 of 1 rows"),
        (torch.ones(1, tiny.D), {"steps": 0}, "steps is 0: use a whole number from 1 to 1000, which RDMPipeline takes"),
        (torch.ones(1, tiny.D), {"steps": 1001}, "steps is 1001"),
        (torch.ones(1, tiny.D), {"guidance": 0.5}, "guidance is 0.5"),
        (torch.ones(1, tiny.D), {"guidance": float("nan")}, "guidance is nan"),
        (torch.ones(1, tiny.D), {"seed": -1}, "seed is -1"),
        (torch.ones(1, tiny.D), {"seed": [1, 2]}, "2 seeds, there are 1 pictures"),
        (torch.ones(2, tiny.D), {"seed": [1, -2]}, "seed holds -2"),
        (
            torch.eye(tiny.D)[:4] * torch.tensor([1, 0, 1, 0])[:, None],
            {},
            "2 vectors that are zero, the first is row 1",
        ),
        (torch.ones(1, tiny.D), {"steps": 2.0}, "steps is 2.0: use a whole number"),
        (torch.ones(1, tiny.D), {"steps": "2"}, "steps is '2'"),
        (torch.ones(1, tiny.D), {"guidance": "3"}, "guidance is '3': use a number"),
        (torch.ones(1, tiny.D), {"seed": None}, "seed is None: use a whole number"),
        (torch.ones(1, tiny.D), {"seed": 2.5}, "seed is 2.5"),
        (torch.ones(2, tiny.D), {"seed": [1.5, 2]}, r"seed is \[1.5, 2\]"),
        (torch.ones(2, tiny.D), {"seed": "12"}, "seed is '12'"),
        (torch.ones(1, tiny.D), {"seed": [2**63]}, r"less than 2\*\*63"),
    ],
)
def test_says_what_is_wrong(embeddings: Tensor, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        decoder_of().sample(embeddings, **arguments)


def test_a_pipeline_that_makes_nan_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = decoder_of(batch_size=2)
    pictures = decoder._denoiser.pictures

    def overflowing(rows: Tensor, batch: Any) -> Tensor:
        made = pictures(rows, batch)
        made[-1] = torch.nan
        return made

    monkeypatch.setattr(decoder._denoiser, "pictures", overflowing)
    with pytest.raises(ModelError, match=r"RDMPipeline made NaN of 2 of 4 vectors, the first is 1: .*float32"):
        decoder.sample(vectors(4), 1)


def test_is_public() -> None:
    assert fdgpu.Decoder is Decoder
