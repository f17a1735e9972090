"""The decoder's training: its loss by what CLIP sees, its conditions and its checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from fdgpu.decoding.decoder import FOLDER, WEIGHTS, fold, unfold
from fdgpu.embedding import ClipEmbedder
from tools.decoder_quality import held_out_pictures
from tools.train_decoder import SeenLoss, Trainer, _conditions, noise_levels

N, D = 6, 128


@pytest.fixture(scope="module")
def clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return fold(held_out_pictures("val", N, 0).pixels)


def test_pictures_that_are_seen_alike_cost_nothing_and_others_by_their_cosine(
    clip: ClipEmbedder, latents: Tensor
) -> None:
    loss, vectors = SeenLoss(clip), clip.images(unfold(latents))
    everywhere = torch.ones(N)
    torch.testing.assert_close(loss(latents, vectors, everywhere), torch.tensor(0.0), atol=1e-5, rtol=0)
    expected = (1 - (vectors * vectors.roll(1, 0)).sum(1)).mean()
    torch.testing.assert_close(loss(latents, vectors.roll(1, 0), everywhere), expected, atol=1e-5, rtol=0)
    first_only = loss(latents, vectors.roll(1, 0), torch.eye(N)[0])
    torch.testing.assert_close(first_only, (1 - vectors[0] @ vectors[-1]) / N, atol=1e-5, rtol=0)


def test_its_gradient_leads_to_a_picture_that_is_seen_more_alike(clip: ClipEmbedder, latents: Tensor) -> None:
    loss, everywhere = SeenLoss(clip), torch.ones(N)
    vectors = clip.images(unfold(latents)).roll(1, 0).clone()  # a plain tensor, not one of inference mode
    asked = latents.mul(0.9).requires_grad_()
    before = loss(asked, vectors, everywhere)
    before.backward()
    assert asked.grad is not None
    step = 1e-2 * asked.grad / asked.grad.norm()
    with torch.no_grad():
        assert loss(asked - step, vectors, everywhere) < before < loss(asked + step, vectors, everywhere)
    assert all(parameter.grad is None for parameter in clip.model.parameters())


def batch(latents: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    vectors = F.normalize(torch.randn(N, D, generator=torch.Generator().manual_seed(seed)), dim=1)
    return latents, vectors, vectors


def test_a_checkpoint_goes_on_as_if_nothing_had_been(clip: ClipEmbedder, latents: Tensor, tmp_path: Path) -> None:
    def fresh(seed: int) -> Trainer:
        return Trainer(4, seed, SeenLoss(clip))

    through, first, second = fresh(0), fresh(0), fresh(1)
    losses = [through.step(*batch(latents, i)) for i in range(4)]
    for i in range(2):
        first.step(*batch(latents, i))
    first.save(tmp_path / "checkpoint.safetensors")
    second.load(tmp_path / "checkpoint.safetensors")
    assert [second.step(*batch(latents, i)) for i in (2, 3)] == losses[2:]
    for name, value in through.average.items():
        torch.testing.assert_close(second.average[name], value, atol=0, rtol=0)


def test_starts_from_weights_and_writes_their_average(clip: ClipEmbedder, tmp_path: Path) -> None:
    trainer = Trainer(4, 0, SeenLoss(clip))
    trainer.start_from(FOLDER / WEIGHTS)
    trainer.write_weights(tmp_path)
    shipped, written = load_file(FOLDER / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert written.keys() == shipped.keys()
    assert all(torch.equal(written[name], shipped[name]) for name in shipped)


def test_noise_levels_are_of_the_range_and_low_ones_most_often() -> None:
    drawn = noise_levels(20_000, 1000, torch.Generator().manual_seed(0))
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < 1000
    share = float((drawn < 500).float().mean())
    assert share == pytest.approx(0.5 * 0.5 + 0.5 * 0.75, abs=0.02)


def test_conditions_lie_between_caption_and_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    images, captions = (F.normalize(torch.randn(3000, D, generator=generator), dim=1) for _ in range(2))
    drawn = _conditions(images, captions, generator)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(3000))
    of_image, of_caption = (drawn * images).sum(1), (drawn * captions).sum(1)
    at_image = (of_image > 0.95) & (of_caption < 0.5)
    at_caption = (of_caption > 0.95) & (of_image < 0.5)
    assert float(at_image.float().mean()) == pytest.approx(1 / 3, abs=0.1)
    assert float(at_caption.float().mean()) == pytest.approx(1 / 3, abs=0.1)
