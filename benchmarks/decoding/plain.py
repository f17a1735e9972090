"""Pipelines as diffusers calls them, one direction a call: the bundled net's, and a small Kandinsky."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    KandinskyV22Pipeline,
    UNet2DConditionModel,
    VQModel,
)
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.decoding.speed import Job
from fdgpu.decoding.decoder import ETA, FOLDER, WEIGHTS, BundledNet, condition, unfold


class PlainPipeline(DiffusionPipeline):
    """The bundled UNet with classifier-free guidance, as an ordinary pipeline of diffusers."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.set_progress_bar_config(disable=True)

    @classmethod
    def beside(cls, net: BundledNet, weights: Any = FOLDER / WEIGHTS) -> PlainPipeline:
        """Load the same weights once more, on the same device and in the same precision, laid out as they come."""
        unet: Any = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(FOLDER))
        unet.load_state_dict(load_file(weights))
        return cls(nn.Module.to(unet.eval(), net.device, net.dtype), DDIMScheduler.from_pretrained(FOLDER))

    @torch.no_grad()
    def __call__(self, vector: Tensor, job: Job, generators: list[torch.Generator]) -> Tensor:
        """Decode one unit vector (1, d) with each generator: (s, 3, 32, 32)."""
        device, dtype = self.unet.device, self.unet.dtype
        own = condition(vector.to(device, dtype)).repeat(len(generators), 1)
        labels = torch.cat([torch.zeros_like(own), own])
        self.scheduler.set_timesteps(job.steps, device=device)
        side = self.unet.config.sample_size
        shape = (len(generators), self.unet.config.in_channels, side, side)
        latents = randn_tensor(shape, generators, device=device, dtype=dtype)
        for t in self.progress_bar(self.scheduler.timesteps):
            velocity = self.unet(torch.cat([latents] * 2), t, None, class_labels=labels).sample
            unconditional, conditional = velocity.chunk(2)
            guided = unconditional + job.guidance * (conditional - unconditional)
            latents = self.scheduler.step(guided, t, latents, eta=ETA, generator=generators).prev_sample
        return unfold(latents).float()


def small_kandinsky(width: int, dimension: int) -> Any:
    """Return ``KandinskyV22Pipeline`` with random weights: 16 x 16 latents, 64 x 64 pictures."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=8,
        layers_per_block=1,
        block_out_channels=(width, 2 * width),
        addition_embed_type="image",
        encoder_hid_dim=dimension,
        encoder_hid_dim_type="image_proj",
        cross_attention_dim=width,
        attention_head_dim=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
    )
    movq = VQModel(
        block_out_channels=(32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        vq_embed_dim=4,
        latent_channels=4,
        norm_type="spatial",
    )
    pipeline = KandinskyV22Pipeline(unet.eval(), DDPMScheduler(variance_type="learned_range"), movq.eval())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def call_kandinsky(pipeline: Any, vector: Tensor, job: Job, generators: list[torch.Generator]) -> Tensor:
    """Decode one vector (1, d) by the pipeline's own call, with each generator."""
    side = pipeline.unet.config.sample_size * pipeline.movq_scale_factor
    vectors = vector.repeat(len(generators), 1)
    made: Tensor = pipeline(
        image_embeds=vectors,
        negative_image_embeds=torch.zeros_like(vectors),
        height=side,
        width=side,
        num_inference_steps=job.steps,
        guidance_scale=job.guidance,
        generator=generators,
        output_type="pt",
    ).images
    return made.div(2).add(0.5).clamp(0, 1)
