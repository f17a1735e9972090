"""Stable unCLIP: the vector joins the time embedding, the prompt is empty."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fdgpu.decoding.pipelines.base import PipelineDenoiser
from fdgpu.decoding.spaces import space_of_encoder
from fdgpu.decoding.stage import Batch


class StableUnclip(PipelineDenoiser):
    """``StableUnCLIPImg2ImgPipeline`` at noise level 0."""

    steps, guidance = 20, 10.0

    def __init__(self, pipeline: Any, size: int | None, negative: Any) -> None:
        space = space_of_encoder(
            getattr(pipeline.image_encoder, "config", None), pipeline.image_normalizer.config.embedding_dim
        )
        super().__init__(pipeline, pipeline.unet, space, negative)
        scale = pipeline.vae_scale_factor
        self._make_room(size, scale, 768)
        self.length = _usual_length(pipeline.image_normalizer)

    @cached_property
    def _empty(self) -> Tensor:
        """The text encoder's answer to an empty prompt, (1, tokens, width)."""
        return torch.as_tensor(self.pipeline.encode_prompt("", self.device, 1, False)[0])

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        noised = self.pipeline.noise_image_embeddings(vectors, 0, noise=batch.noise((vectors.shape[1],))).to(vectors)
        nothing = torch.zeros_like(noised)  # the noise level too
        nothing[:, : vectors.shape[1]] = self.negative.to(vectors)
        told = batch.beside(nothing, noised)
        prompt = self._empty.to(vectors).expand(len(told), -1, -1)

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = self.net(rows, t, prompt, class_labels=told, return_dict=False)[0]
            return said

        return self._drawn(batch, predict, self._by_vae)


def _usual_length(normalizer: Any) -> float | None:
    """How long the vectors of its training are: root of the sum of their mean squares. None if it was never set."""
    mean, std = normalizer.mean.detach().double(), normalizer.std.detach().double()
    if bool((mean == 0).all() and (std == 1).all()):
        return None
    return float((mean.square() + std.square()).sum().sqrt())
