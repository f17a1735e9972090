"""The bundled decoder as an ordinary diffusers pipeline: one vector a call, as every pipeline of diffusers works."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from fdgpu.decoding.bundled import condition, unfold


class PlainPipeline(DiffusionPipeline):
    """A UNet on CLIP vectors with classifier-free guidance."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def __call__(
        self, vector: Tensor, num_inference_steps: int, guidance_scale: float, generator: list[torch.Generator]
    ) -> Tensor:
        """Decode one unit vector (1, d) with each generator: (s, 3, 32, 32)."""
        said = condition(vector.to(self.unet.dtype)).repeat(len(generator), 1)
        told = torch.cat([torch.zeros_like(said), said])
        self.scheduler.set_timesteps(num_inference_steps, device=vector.device)
        side = self.unet.config.sample_size
        shape = (len(generator), self.unet.config.in_channels, side, side)
        latents = randn_tensor(shape, generator, device=vector.device, dtype=self.unet.dtype)
        for t in self.progress_bar(self.scheduler.timesteps):
            velocity = self.unet(torch.cat([latents] * 2), t, None, class_labels=told).sample
            nothing, something = velocity.chunk(2)
            latents = self.scheduler.step(nothing + guidance_scale * (something - nothing), t, latents).prev_sample
        return unfold(latents).float()
