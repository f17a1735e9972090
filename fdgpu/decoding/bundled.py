"""The bundled decoder: a small diffusers UNet on the bundled CLIP's vectors, and the conventions of its training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.decoding.sampling import Batch, Scheduler
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.device import Placement, choose_device
from fdgpu.errors import ModelError
from fdgpu.extras import require
from fdgpu.fingerprint import Settings, component_settings

FOLDER = Path(__file__).parents[1] / "demo" / "decoder"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SIDE = 32  # pixels
FOLD = 2
# Noise drawn anew lets later steps mend what earlier ones got wrong: the net is small. With exactly 1, rounding leaves
# the first step a variance of -6e-8 at some numbers of steps, and its root is NaN.
ETA = 1 - 1e-6

Net = Any  # diffusers' UNet2DConditionModel, whose attributes mypy does not see


def fold(pictures: Tensor) -> Tensor:
    """uint8 pictures (n, 3, 64, 64) → latents (n, 12, 16, 16) in [-1, 1]: half the size, 2 x 2 pixels to channels."""
    small = F.avg_pool2d(pictures.float() / 127.5 - 1, pictures.shape[-1] // SIDE)
    return F.pixel_unshuffle(small, FOLD)


def unfold(latents: Tensor) -> Tensor:
    """Latents (n, 12, 16, 16) → pictures (n, 3, 32, 32) in [0, 1]."""
    return F.pixel_shuffle(latents, FOLD).add(1).div(2).clamp(0, 1)


def condition(vectors: Tensor) -> Tensor:
    """Unit vectors (n, d) → the net's condition, of entries about one in size; zero vectors ask for any picture."""
    return vectors * math.sqrt(vectors.shape[1])


class BundledNet:
    """The bundled decoder as a :class:`fdgpu.decoding.sampling.Denoiser`."""

    name = "the bundled decoder"
    size = (SIDE, SIDE)
    steps, least_steps, most_steps = 20, 1, 1000
    guidance = 2.0
    length: float | None = 1.0

    def __init__(self, net: Net, scheduler: Scheduler, placement: Placement) -> None:
        self.net, self.scheduler = net, scheduler
        self.device, self.dtype = placement.device, placement.dtype
        self.space = ClipSpace(net.config.projection_class_embeddings_input_dim, ("bundled",))

    @classmethod
    def load(cls, device: str | torch.device = "auto", folder: Path = FOLDER) -> BundledNet:
        """Load the weights; half precision on CUDA.

        Raises:
            ModelError: where there are none; they are made by ``python -m tools.train_decoder``.
            MissingExtraError: where diffusers is not installed.
        """
        placement = choose_device(device)
        weights = folder / WEIGHTS
        if not weights.is_file():
            raise ModelError(
                f"{weights} is not there: install fdgpu again, or train it with python -m tools.train_decoder"
            )
        diffusers = require("diffusers", "decode", cls.name)  # takes seconds
        net: Net = diffusers.UNet2DConditionModel.from_config(diffusers.UNet2DConditionModel.load_config(FOLDER))
        net.load_state_dict(load_file(weights))
        # torch's own ``to``: diffusers' warns of modules that should stay float32, of which there are none
        net = nn.Module.to(net.eval().requires_grad_(False), placement.device, placement.dtype)
        net = net.to(memory_format=torch.channels_last)
        return cls(net, diffusers.DDIMScheduler.from_pretrained(FOLDER), placement)

    @property
    def settings(self) -> Settings:
        """Its name, weights and scheduler."""
        return {"pipeline": self.name, **component_settings({"net": self.net, "scheduler": self.scheduler})}

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode unit vectors (n, d) to pictures (n, 3, 32, 32) in [0, 1]."""
        own = condition(F.normalize(vectors, dim=1))
        labels = batch.conditions(torch.zeros_like(own), own)
        side = self.net.config.sample_size

        def predict(rows: Tensor, t: Tensor, _: bool) -> Tensor:
            prediction: Tensor = self.net(rows, t, None, class_labels=labels, return_dict=False)[0]
            return prediction

        shape = (self.net.config.in_channels, side, side)
        return unfold(batch.denoise("decode pictures", self.scheduler, shape, predict, eta=ETA))
