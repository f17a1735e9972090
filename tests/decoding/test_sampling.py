"""The loop over time: what the net is asked, what the scheduler gets, and which noise a picture starts from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fdgpu.decoding.sampling import Batch, picture_seeds
from tests.decoding.test_decoder import decoder_of, vectors


def test_one_net_call_a_step_holds_guidance_and_every_vector() -> None:
    decoder, rows = decoder_of(), []
    net = decoder._denoiser.net  # type: ignore[attr-defined]
    hook = net.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    decoder.sample(vectors(5), 3)
    assert rows == [10] * 3
    rows.clear()
    decoder.sample(vectors(5), 3, guidance=1.0)
    assert rows == [5] * 3
    hook.remove()


class OneStep:
    """A scheduler that keeps what it gets."""

    timesteps, init_noise_sigma = torch.tensor([7]), 1.0

    def __init__(self, variance: str) -> None:
        self.config = {"variance_type": variance}

    def set_timesteps(self, num_inference_steps: int, device: torch.device) -> None:
        assert (num_inference_steps, device.type) == (1, "cpu")

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        assert timestep == 7
        return sample

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        assert t == 7
        assert not return_dict
        assert latents.shape == (3, 2, 1, 1)
        return (prediction,)


@pytest.mark.parametrize(("variance", "channels"), [("fixed_small", 2), ("learned", 4), ("learned_range", 4)])
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_guidance_steers_the_mean_and_leaves_the_variance(variance: str, channels: int, guidance: float) -> None:
    """Of a net that predicts u and c for each of n = 3 latents: 2 channels of a mean, 2 of a variance."""
    u, c = torch.randn(2, 3, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(i) for i in range(3)]
    batch = Batch(generators, 1, guidance, torch.device("cpu"), torch.float32)
    conditions = batch.conditions(u, c)

    def predict(rows: Tensor, _t: Tensor, _is_last: bool) -> Tensor:
        assert len(rows) == len(conditions)
        if batch.guided:
            assert torch.equal(rows[:3], rows[3:])
        return conditions

    got = batch.denoise("a stage", OneStep(variance), (2, 1, 1), predict)
    expected = torch.cat([u[:, :2] + guidance * (c[:, :2] - u[:, :2]), c[:, 2:]], dim=1)
    torch.testing.assert_close(got, expected[:, :channels])


def test_a_stage_without_guidance_is_asked_once_a_latent() -> None:
    batch = Batch([torch.Generator()], 20, 5.0, torch.device("cpu"), torch.float32)
    asked: list[int] = []

    def predict(rows: Tensor, _t: Tensor, _is_last: bool) -> Any:
        asked.append(len(rows))
        return rows

    class Unguided(OneStep):
        def step(self, prediction: Tensor, t: Tensor, latents: Tensor, return_dict: bool) -> tuple[Tensor]:  # noqa: ARG002
            return (prediction,)

    batch.denoise("a stage", Unguided("fixed_small"), (2, 1, 1), predict, steps=1, guided=False)
    assert asked == [1]


def test_seeds() -> None:
    assert picture_seeds([3, 1], 2) == [3, 1]
    assert picture_seeds(np.array([3, 1]), 2) == picture_seeds(torch.tensor([3, 1]), 2) == [3, 1]
    assert picture_seeds(7, 3) == picture_seeds(7, 5)[:3]
    every = {seed for base in range(20) for seed in picture_seeds(base, 20)}
    assert len(every) == 400
