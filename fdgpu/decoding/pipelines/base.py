"""What all adapters of diffusers pipelines take from the pipeline in the same way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from fdgpu.arrays import to_torch
from fdgpu.decoding.fingerprint import pipeline_settings, plain
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.decoding.stage import Batch, Stage
from fdgpu.errors import InputError

Predict = Callable[[Tensor, Tensor], Tensor]


class PipelineDenoiser:
    """The common part of the adapters; see :class:`fdgpu.decoding.denoiser.Denoiser`.

    Args:
        pipeline: the diffusers pipeline, used where it is and as it is whenever it samples.
        net: its UNet, laid out channels-last on CUDA, which changes no number.
        space: the CLIP space that it decodes.
        negative: (d,) what guidance steers away from; None for zeros.
    """

    length: float | None = None
    least_steps = 1

    def __init__(self, pipeline: Any, net: Any, space: ClipSpace, negative: Any) -> None:
        self.pipeline, self.net, self.space = pipeline, net, space
        self.name = type(pipeline).__name__
        if self.device.type == "cuda":
            net.to(memory_format=torch.channels_last)
        self.negative = self._checked(negative)

    @property
    def device(self) -> torch.device:
        """Where the pipeline is now."""
        return torch.device(self.pipeline._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        """The net's precision now."""
        dtype: torch.dtype = self.net.dtype
        return dtype

    @property
    def settings(self) -> dict[str, Any]:
        """The pipeline's class, weights and schedulers, and what guidance steers away from."""
        return {**pipeline_settings(self.pipeline), "negative": plain(self.negative)}

    def _checked(self, negative: Any) -> Tensor:
        if negative is None:
            return torch.zeros(1, self.space.dimension)
        vector = to_torch(negative, "negative").reshape(-1).cpu().float()
        if len(vector) != self.space.dimension or not bool(vector.isfinite().all()):
            raise InputError(
                f"negative has {len(vector)} numbers, {self.name} takes one finite vector of {self.space.dimension}"
            )
        return vector[None]

    def _make_room(self, size: int | None, scale: int, usual: int) -> None:
        """Settle the side of the latents: of pictures of ``size``, the net's own, or that of the ``usual`` pictures."""
        if size is not None and (not isinstance(size, Integral) or size < scale or size % scale):
            raise InputError(f"size is {size!r}: {self.name} makes pictures of a multiple of {scale} pixels")
        self.side: int = size // scale if size else self.net.config.sample_size or usual // scale
        self.size = (self.side * scale, self.side * scale)
        self.most_steps: int = self.pipeline.scheduler.config.num_train_timesteps

    def _drawn(self, batch: Batch, predict: Predict, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Denoise latents with what the net says of them, and make them pictures."""
        shape = (self.net.config.in_channels, self.side, self.side)
        latents = batch.denoise(Stage("decode pictures", self.pipeline.scheduler, shape, predict, batch.steps))
        return batch.in_parts(decode, latents)

    def _by_vae(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        return to_unit_interval(vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0])

    def fast(self) -> AbstractContextManager[Any]:
        """Half precision on CUDA, whichever precision the pipeline's weights have."""
        return torch.autocast(
            self.device.type, torch.float16, enabled=self.device.type == "cuda" and self.dtype == torch.float32
        )


def to_unit_interval(pictures: Tensor) -> Tensor:
    """[-1, 1] → [0, 1]."""
    return pictures.float().div(2).add(0.5).clamp(0, 1)
