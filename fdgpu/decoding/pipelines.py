"""Adapters of diffusers pipelines that decode CLIP vectors: what each pipeline's net is conditioned on, and how.

A pipeline is known by the name of its class, or of one that it derives from; nothing of diffusers is imported here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, lru_cache
from numbers import Integral
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import Array, bring_down, to_device, to_host, to_torch
from fdgpu.decoding.sampling import Batch, Denoiser, Predict
from fdgpu.decoding.spaces import ClipSpace, space_named, space_of_encoder
from fdgpu.errors import InputError
from fdgpu.fingerprint import Settings, pipeline_settings, plain

ENLARGING_STEPS = 7  # of unCLIP's second net

Pipeline = Any  # diffusers gives its pipelines' parts no types
Net = Any


def adapt(pipeline: Pipeline, size: int | None, negative: Array | None) -> Denoiser:
    """Return the pipeline as a denoiser.

    Raises:
        InputError: for a pipeline that does not take CLIP vectors, or a size or negative vector that it cannot have.
    """
    for kind in type(pipeline).__mro__:
        if kind.__name__ in ADAPTERS:
            return ADAPTERS[kind.__name__](pipeline, size, negative)
    raise InputError(
        f"{type(pipeline).__name__} is not a pipeline that decodes CLIP vectors: use one of {', '.join(ADAPTERS)}; "
        "captions go to any text-to-image pipeline by fdgpu.text_to_image"
    )


class PipelineDenoiser:
    """The common part of the adapters; see :class:`fdgpu.decoding.sampling.Denoiser`.

    Args:
        pipeline: the diffusers pipeline, used where it is and as it is whenever it samples.
        net: its UNet, laid out channels-last on CUDA, which changes no number.
        space: the CLIP space that it decodes.
        negative: (d,) what guidance steers away from; None for zeros.
    """

    length: float | None = None
    least_steps = 1

    def __init__(self, pipeline: Pipeline, net: Net, space: ClipSpace, negative: Array | None) -> None:
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
    def settings(self) -> Settings:
        """The pipeline's class, weights and schedulers, and what guidance steers away from."""
        return {**pipeline_settings(self.pipeline), "negative": plain(self.negative)}

    def _checked(self, negative: Array | None) -> Tensor:
        if negative is None:
            return torch.zeros(1, self.space.dimension)
        vector = torch.from_numpy(to_host(to_torch(negative, "negative").reshape(-1).float(), "negative"))
        if len(vector) != self.space.dimension or not bool(vector.isfinite().all()):
            raise InputError(
                f"negative has {len(vector)} numbers, {self.name} takes one finite vector of {self.space.dimension}"
            )
        return vector[None]

    def _away(self, vectors: Tensor) -> Tensor:
        """Return (1, d): what guidance steers away from, where the vectors are and in their precision."""
        return to_device(self.negative.to(vectors.dtype), vectors.device)

    def _set_size(self, size: int | None, scale: int, usual: int) -> None:
        """Choose the side of the latents: of pictures of ``size``, the net's own, or that of the ``usual`` pictures.

        A latent's pixel becomes ``scale`` x ``scale`` pixels of the picture.
        """
        if size is not None and (not isinstance(size, Integral) or size < scale or size % scale):
            raise InputError(f"size is {size!r}: {self.name} makes pictures of a multiple of {scale} pixels")
        self.side: int = size // scale if size else self.net.config.sample_size or usual // scale
        self.size = (self.side * scale, self.side * scale)
        self.most_steps: int = self.pipeline.scheduler.config.num_train_timesteps

    def _predict(self, **condition: object) -> Predict:
        """Return the net's prediction of latents at a time, given what its rows are conditioned on."""

        def predict(rows: Tensor, t: Tensor, _: bool) -> Tensor:
            with self._fast():
                prediction: Tensor = self.net(rows, t, return_dict=False, **condition)[0]
            return prediction

        return predict

    def _denoise(self, batch: Batch, decode: Callable[[Tensor], Tensor], **condition: object) -> Tensor:
        """Denoise latents under a condition, and make them pictures."""
        shape = (self.net.config.in_channels, self.side, self.side)
        latents = batch.denoise("decode pictures", self.pipeline.scheduler, shape, self._predict(**condition))
        return batch.in_parts(decode, latents)

    def _by_vae(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        return _to_unit_interval(vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0])

    def _fast(self) -> AbstractContextManager[object]:
        """Half precision on CUDA, also where the pipeline's weights are float32."""
        return torch.autocast(
            self.device.type, torch.float16, enabled=self.device.type == "cuda" and self.dtype == torch.float32
        )


class StableUnclip(PipelineDenoiser):
    """``StableUnCLIPImg2ImgPipeline`` at noise level 0: the vector joins the time embedding, the prompt is empty."""

    steps, guidance = 20, 10.0

    def __init__(self, pipeline: Pipeline, size: int | None, negative: Array | None) -> None:
        config, width = getattr(pipeline.image_encoder, "config", None), pipeline.image_normalizer.config.embedding_dim
        super().__init__(pipeline, pipeline.unet, space_of_encoder(config, width), negative)
        self._set_size(size, pipeline.vae_scale_factor, 768)
        self.length = _training_length(pipeline.image_normalizer)

    @cached_property
    def _empty_prompt(self) -> Tensor:
        """(1, tokens, width)."""
        return torch.as_tensor(self.pipeline.encode_prompt("", self.device, 1, False)[0])

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        # (n, 2d): the vectors beside the embedding of their noise level
        noised = self.pipeline.noise_image_embeddings(vectors, 0, noise=batch.noise((vectors.shape[1],))).to(vectors)
        unconditional = torch.zeros_like(noised)  # zeros for the noise level too
        unconditional[:, : vectors.shape[1]] = self._away(vectors)
        labels = batch.conditions(unconditional, noised)
        prompt = self._empty_prompt.to(vectors).expand(len(labels), -1, -1)
        return self._denoise(batch, self._by_vae, encoder_hidden_states=prompt, class_labels=labels)


def _training_length(normalizer: Any) -> float | None:
    """Root mean square length of the vectors of its training, √Σ(mean² + std²); None if its statistics are not set."""
    down = bring_down("the statistics of a pipeline's training", normalizer.mean, normalizer.std)
    mean, std = map(torch.from_numpy, down)
    if bool((mean == 0).all() and (std == 1).all()):
        return None
    return float((mean.square() + std.square()).sum().sqrt())


class Kandinsky(PipelineDenoiser):
    """``KandinskyV22Pipeline``, whose latents are a MoVQ's. It holds no CLIP: the space is known by its width."""

    steps, guidance = 50, 4.0

    def __init__(self, pipeline: Pipeline, size: int | None, negative: Array | None) -> None:
        space = space_named("ViT-bigG-14:laion2b_s39b_b160k", pipeline.unet.config.encoder_hid_dim)
        super().__init__(pipeline, pipeline.unet, space, negative)
        self._set_size(size, pipeline.movq_scale_factor, 512)

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        added = {"image_embeds": batch.conditions(self._away(vectors), vectors)}
        return self._denoise(batch, self._by_movq, encoder_hidden_states=None, added_cond_kwargs=added)

    def _by_movq(self, latents: Tensor) -> Tensor:
        movq = self.pipeline.movq
        return _to_unit_interval(movq.decode(latents.to(movq.dtype), force_not_quantize=True, return_dict=False)[0])


class Unclip(PipelineDenoiser):
    """``UnCLIPImageVariationPipeline`` (Karlo): small pictures, then larger ones by a second net without guidance.

    Guidance steers away from a vector that the pipeline has learnt.
    """

    steps, guidance = 25, 8.0
    least_steps = 2  # its scheduler divides by one step less

    def __init__(self, pipeline: Pipeline, size: int | None, negative: Array | None) -> None:
        config, width = getattr(pipeline.image_encoder, "config", None), pipeline.text_proj.config.clip_embeddings_dim
        super().__init__(pipeline, pipeline.decoder, space_of_encoder(config, width), negative)
        side = pipeline.super_res_first.config.sample_size
        if size not in (None, side):
            raise InputError(f"size is {size!r}: {self.name} makes pictures of {side} pixels, and of no other size")
        if negative is not None:
            raise InputError(f"negative: {self.name} has learnt its own, leave it out")
        self.size = (side, side)
        self.most_steps = pipeline.decoder_scheduler.config.num_train_timesteps
        self._empty_prompt = lru_cache(maxsize=2)(self._encode_empty)

    def _encode_empty(self, guided: bool) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(self.pipeline._encode_prompt([""], self.device, 1, guided))

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        return _to_unit_interval(self._enlarged(self._small(vectors, batch).clamp(-1, 1), batch))

    def _small(self, vectors: Tensor, batch: Batch) -> Tensor:
        # (2, …), or (1, …) where nothing guides → (2n or n, …): the unconditional rows first, as the loop wants them
        pooled, states, mask = (part.repeat_interleave(len(vectors), 0) for part in self._empty_prompt(batch.guided))
        context, added = self.pipeline.text_proj(
            image_embeddings=vectors,
            prompt_embeds=pooled.to(vectors),
            text_encoder_hidden_states=states.to(vectors),
            do_classifier_free_guidance=batch.guided,
        )
        # the vector's own tokens come before the prompt's, and none of them is masked
        mask = F.pad(mask, (self.pipeline.text_proj.config.clip_extra_context_tokens, 0), value=True).to(vectors.device)
        predict = self._predict(encoder_hidden_states=context, class_labels=added, attention_mask=mask)
        config = self.net.config
        shape = (config.in_channels, config.sample_size, config.sample_size)
        return batch.denoise("decode pictures", self.pipeline.decoder_scheduler, shape, predict)

    def _enlarged(self, small: Tensor, batch: Batch) -> Tensor:
        first, last = self.pipeline.super_res_first, self.pipeline.super_res_last
        single = small.float()  # the CPU knows no bicubic in half precision
        large = F.interpolate(single, size=self.size, mode="bicubic", align_corners=False, antialias=True).to(small)

        def predict(rows: Tensor, t: Tensor, is_last: bool) -> Tensor:
            # (n, 3, h, w) noise beside the enlarged picture → (n, 6, h, w); a net of its own takes the last step
            with self._fast():
                net = last if is_last else first
                prediction: Tensor = net(torch.cat([rows, large], 1), t, return_dict=False)[0]
            return prediction

        shape = (first.config.in_channels // 2, *self.size)
        scheduler = self.pipeline.super_res_scheduler
        return batch.denoise("enlarge pictures", scheduler, shape, predict, steps=ENLARGING_STEPS, guided=False)


class Context(PipelineDenoiser):
    """Latent diffusion whose cross-attention context is the vector, as one token; unconditional is a zero.

    Nothing is retrieved, as in the paper (A.7).
    """

    steps, guidance = 50, 7.5

    def __init__(self, pipeline: Pipeline, size: int | None, negative: Array | None) -> None:
        super().__init__(pipeline, pipeline.unet, _space_of_context(pipeline), negative)
        width = pipeline.unet.config.cross_attention_dim
        if width != self.space.dimension:
            raise InputError(
                f"the UNet of this {self.name} attends to vectors of {width} numbers, its CLIP gives "
                f"{self.space.dimension}: its context is not the CLIP vector"
            )
        self._set_size(size, 2 ** (len(pipeline.vae.config.block_out_channels) - 1), 768)

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        context = batch.conditions(self._away(vectors), vectors)[:, None]  # (2n or n, 1, d)
        return self._denoise(batch, self._by_vae, encoder_hidden_states=context)


def _space_of_context(pipeline: Pipeline) -> ClipSpace:
    """RDM holds a whole CLIP, image variations only its vision tower; either may be loaded without."""
    whole, tower = getattr(pipeline, "clip", None), getattr(pipeline, "image_encoder", None)
    if whole is not None:
        return space_of_encoder(whole.config.vision_config, whole.config.projection_dim)
    if tower is not None:
        return space_of_encoder(tower.config, tower.config.projection_dim)
    return ClipSpace(pipeline.unet.config.cross_attention_dim)


class RetrievalAugmented(Context):
    """``RDMPipeline``, the paper's, whose own call makes CLIP's vectors unit vectors first, as its training did."""

    length: float | None = 1.0


def _to_unit_interval(pictures: Tensor) -> Tensor:
    """[-1, 1] → [0, 1]."""
    return pictures.float().div(2).add(0.5).clamp(0, 1)


ADAPTERS: dict[str, Callable[[Pipeline, int | None, Array | None], Denoiser]] = {
    "StableUnCLIPImg2ImgPipeline": StableUnclip,
    "KandinskyV22Pipeline": Kandinsky,
    "UnCLIPImageVariationPipeline": Unclip,
    "RDMPipeline": RetrievalAugmented,  # a research project of diffusers, and no class of the package
    "StableDiffusionImageVariationPipeline": Context,
}
