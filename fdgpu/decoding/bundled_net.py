"""The bundled decoder as a denoiser: a small diffusers UNet on the bundled CLIP's vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.decoding.bundled import FOLDER, SIDE, WEIGHTS, condition, unfold
from fdgpu.decoding.fingerprint import component_settings
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.decoding.stage import Batch, Stage
from fdgpu.device import choose_device
from fdgpu.errors import ModelError

STEPS = 20
GUIDANCE = 2.0
# Noise drawn anew lets later steps mend what earlier ones got wrong: the net is small. With exactly 1, rounding leaves
# the first step a variance of -6e-8 at some numbers of steps, and its root is NaN.
ETA = 1 - 1e-6


@dataclass(frozen=True)
class BundledNet:
    """See :class:`fdgpu.decoding.denoiser.Denoiser`."""

    net: Any
    scheduler: Any
    space: ClipSpace
    device: torch.device
    dtype: torch.dtype
    name: str = "the bundled decoder"
    size: tuple[int, int] = (SIDE, SIDE)
    steps: int = STEPS
    least_steps: int = 1
    most_steps: int = 1000
    guidance: float = GUIDANCE
    length: float | None = 1.0

    @classmethod
    def load(cls, device: str | torch.device = "auto", folder: Path = FOLDER) -> BundledNet:
        """Load the weights; half precision on CUDA.

        Raises:
            ModelError: where there are none; they are made by ``python -m tools.train_decoder``.
        """
        placement = choose_device(device)
        weights = folder / WEIGHTS
        if not weights.is_file():
            raise ModelError(f"{weights} is not there: train it with python -m tools.train_decoder")
        net: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(FOLDER))
        net.load_state_dict(load_file(weights))
        # torch's own ``to``: diffusers' warns of modules that should stay float32, of which there are none
        net = nn.Module.to(net.eval().requires_grad_(False), placement.device, placement.dtype)
        net = net.to(memory_format=torch.channels_last)
        space = ClipSpace(net.config.projection_class_embeddings_input_dim, ("bundled",))
        return cls(net, DDIMScheduler.from_pretrained(FOLDER), space, placement.device, placement.dtype)

    @property
    def settings(self) -> dict[str, Any]:
        """Its name, weights and scheduler."""
        return {"pipeline": self.name, **component_settings({"net": self.net, "scheduler": self.scheduler})}

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode unit vectors (n, d) to pictures (n, 3, 32, 32) in [0, 1]."""
        said = condition(F.normalize(vectors, dim=1))
        told = batch.beside(torch.zeros_like(said), said)
        side = self.net.config.sample_size
        stage = Stage(
            "decode pictures",
            self.scheduler,
            (self.net.config.in_channels, side, side),
            lambda rows, t: self.net(rows, t, None, class_labels=told, return_dict=False)[0],
            batch.steps,
            eta=ETA,
        )
        return unfold(batch.denoise(stage))
