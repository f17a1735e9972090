"""Vectors of a CLIP space → pictures: the paper's way to look at a direction (2.2 and A.7)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.arrays import Array, finite_rows, restorer, rows_not_finite, to_device, to_host, to_torch
from fdgpu.checks import check_number, check_whole
from fdgpu.decoding.pipelines import Net, Pipeline, adapt
from fdgpu.decoding.sampling import UNGUIDED, Batch, Denoiser, Scheduler, Seeds, picture_seeds
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.described import Described
from fdgpu.device import BatchSize, Placement, choose_device, halving_batches
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from fdgpu.extras import require
from fdgpu.fingerprint import Settings, component_settings
from fdgpu.progress import OneBar, Reporter

# pictures at a time of a small net; on a CPU more no longer fit into a core's cache, and are a tenth slower each
CPU_BATCH, DEVICE_BATCH = 32, 256
# of the small decoder that ships
FOLDER = Path(__file__).parents[1] / "demo" / "decoder"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SIDE = 32  # pixels of its pictures
FOLD = 2
# Noise drawn anew lets later steps mend what earlier ones got wrong: the net is small. With exactly 1, rounding leaves
# the first step a variance of -6e-8 at some numbers of steps, and its root is NaN.
ETA = 1 - 1e-6


class Decoder(Described):
    """Decodes vectors with a diffusion model; see :meth:`bundled` and :meth:`from_diffusers`.

    Args:
        denoiser: the model, behind the protocol :class:`fdgpu.decoding.sampling.Denoiser`.
        batch_size: pictures at a time, halved whenever the device runs out of memory; None: what a small net fills the
            device with.
        length: of the vectors that the model was trained on; vectors are given this length. None: its own, if any.

    Attributes:
        name: of the pipeline.
        space: the CLIP space that it decodes.
        size: height and width of the pictures.
        steps, guidance: what it samples with by default.
    """

    def __init__(self, denoiser: Denoiser, batch_size: int | None = None, length: float | None = None) -> None:
        if length is not None:
            wanted = "how long the pipeline's own CLIP vectors are, such as 20.0"
            length = check_number(length, "length", lambda value: value > 0, wanted)
        self._denoiser = denoiser
        if batch_size is None:
            batch_size = CPU_BATCH if denoiser.device.type == "cpu" else DEVICE_BATCH
        # what fits into memory, of the loop and of what makes latents pictures: each is halved by itself
        self._fitting, self._decoding = BatchSize(batch_size), BatchSize(batch_size)
        self.length = denoiser.length if length is None else length
        self.name, self.space, self.size = denoiser.name, denoiser.space, denoiser.size
        self.steps, self.guidance = denoiser.steps, denoiser.guidance

    def _described(self) -> dict[str, object]:
        height, width = self.size
        return {"name": self.name, "size": f"{height} x {width}", "steps": self.steps}

    @classmethod
    def bundled(cls, device: str | torch.device = "auto", batch_size: int | None = None) -> Decoder:
        """Load the small decoder that ships with fdgpu: the bundled CLIP's vectors → 32 x 32 pictures of its world.

        Args:
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, …; half precision on CUDA.
            batch_size: pictures at a time, halved whenever memory runs out; None: what fills the device.

        Raises:
            ModelError: where the weights are missing.
            BackendError: for a device that is not here.
            MissingExtraError: where diffusers is not installed: ``pip install 'fdgpu[decode]'``.

        Example:
            >>> decoder = Decoder.bundled("cpu")
            >>> decoder.sample(torch.randn(2, decoder.dimension), steps=4).shape
            torch.Size([2, 3, 32, 32])
        """
        return cls(BundledNet.load(device), batch_size)

    @classmethod
    def from_diffusers(
        cls,
        pipeline: Pipeline,
        *,
        clip: object = None,
        size: int | None = None,
        length: float | None = None,
        negative: Array | None = None,
        batch_size: int = 16,
    ) -> Decoder:
        """Decode with a diffusers pipeline that takes CLIP vectors, in its own precision and on its own device.

        On CUDA, a float32 pipeline computes under float16 autocast; its nets are laid out channels-last.

        Args:
            pipeline: ``StableUnCLIPImg2ImgPipeline``, ``KandinskyV22Pipeline``, ``UnCLIPImageVariationPipeline``,
                or one whose cross-attention context is the vector: the paper's retrieval-augmented ``RDMPipeline``,
                and ``StableDiffusionImageVariationPipeline``.
            clip: the :class:`fdgpu.ClipEmbedder` (or its name) whose vectors directions were fitted on, to be checked.
            size: side of the pictures in pixels; None: the pipeline's own.
            length: vectors are given this length, as most pipelines were trained on CLIP's image vectors *before* they
                were made unit vectors: pass the mean norm of those. None: as the pipeline's statistics say, and 1 for
                ``RDMPipeline``; where nothing says, vectors go in as they come, with a warning.
            negative: (d,) what guidance steers away from. None: as the pipeline was trained; for Kandinsky zeros,
                unless its prior's ``get_zero_embed()`` is passed.
            batch_size: pictures at a time; halved whenever the device runs out of memory.

        Raises:
            InputError: for a pipeline of another class, or directions of another CLIP space; names what it expects.
        """
        denoiser = adapt(pipeline, size, negative)
        if clip is not None:
            denoiser.space.check(clip, denoiser.name)
        decoder = cls(denoiser, batch_size, length)
        if decoder.length is None:
            warnings.warn(
                f"{decoder.name} was trained on CLIP's image vectors before they were made unit vectors, and does not "
                "say how long those are: vectors go in as they come; pass length=, the mean norm of the CLIP's "
                "unnormalised image vectors",
                FdgpuWarning,
                stacklevel=2,
            )
        return decoder

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        return self.space.dimension

    @property
    def settings(self) -> Settings:
        """What decides the pictures beside vectors and sampling, as plain data for a manifest."""
        return {**self._denoiser.settings, "length": self.length, "size": list(self.size)}

    def check(self, clip: object) -> None:
        """Raise an InputError if directions fitted on ``clip``'s vectors cannot be decoded here."""
        self.space.check(clip, self.name)

    @torch.no_grad()
    def sample(
        self,
        embeddings: Array,
        steps: int | None = None,
        seed: Seeds = 0,
        *,
        guidance: float | None = None,
        progress: Reporter | None = None,
    ) -> Array:
        """Decode vectors; all of them go through the net together, each with its own noise.

        Args:
            embeddings: (n, d) vectors of the decoder's CLIP space; torch, NumPy, CuPy or JAX.
            steps: of the scheduler; None: the pipeline's usual number.
            seed: picture i's noise comes from (seed, i), or from ``seed[i]`` where a seed a picture is given; a picture
                does not depend on the others, but for rounding.
            guidance: how strongly the vector rules (classifier-free guidance); 1 halves the net's rows.
            progress: a reporter; by default a bar where a person watches standard error.

        Returns:
            (n, 3, h, w) float32 in [0, 1], in ``embeddings``' kind, where they lie.

        Raises:
            InputError: for vectors of another length, zero or not finite, and steps, seeds or guidance that cannot be.
            ModelError: where the pipeline makes NaN.
        """
        vectors = self._checked(to_torch(embeddings, "embeddings"))
        steps, guidance = self._checked_sampling(steps, guidance)
        seeds = picture_seeds(seed, len(vectors))
        pictures = torch.empty(len(vectors), 3, *self.size, device=vectors.device)
        with OneBar(progress) as report:
            start = 0
            run = self._runner(vectors, seeds, steps, guidance, report)
            for stop, part in halving_batches(run, len(vectors), self._fitting):
                pictures[start:stop] = to_device(part, vectors.device)
                start = stop
        self._check_made(pictures)
        return restorer(embeddings)(pictures)

    def _check_made(self, pictures: Tensor) -> None:
        bad = rows_not_finite(pictures.flatten(1), "pictures")
        if len(bad):
            raise ModelError(
                f"{self.name} made NaN of {len(bad)} of {len(pictures)} vectors, the first is {int(bad[0])}: "
                f"its precision is {self._denoiser.dtype}, try float32, or another scheduler"
            )

    def _runner(
        self, vectors: Tensor, seeds: list[int], steps: int, guidance: float, report: Reporter
    ) -> Callable[[int, int], Tensor]:
        denoiser = self._denoiser

        def run(start: int, stop: int) -> Tensor:
            def onward(stage: str, done: int, total: int | None) -> None:
                report(stage, start + (stop - start) * done // (total or 1), len(vectors))

            batch = Batch(
                [torch.Generator().manual_seed(seed) for seed in seeds[start:stop]],
                steps,
                guidance,
                denoiser.device,
                denoiser.dtype,
                onward,
                self._decoding,
            )
            return denoiser.pictures(to_device(vectors[start:stop], denoiser.device).to(denoiser.dtype), batch).float()

        return run

    def _checked(self, vectors: Tensor) -> Tensor:
        if vectors.ndim != 2:
            raise InputError(f"embeddings has the shape {tuple(vectors.shape)}: pass vectors (n, d)")
        if vectors.shape[1] != self.dimension:
            named = f" ({self.space.names[0]})" if self.space.names else ""
            raise InputError(
                f"embeddings has vectors of {vectors.shape[1]} numbers, {self.name} decodes vectors of "
                f"{self.dimension}{named}: fit the directions on embeddings of that CLIP"
            )
        vectors = vectors.float()
        finite_rows(vectors, "embeddings")
        zero = vectors.norm(dim=1) == 0
        if bool(to_host(zero.any(), "whether a vector is zero")):
            rows = np.flatnonzero(to_host(zero, "which vectors are zero"))
            raise InputError(
                f"embeddings holds {len(rows)} vectors that are zero, the first is row {rows[0]}: a zero has no "
                "direction to decode, drop these rows"
            )
        return vectors if self.length is None else F.normalize(vectors, dim=1) * self.length

    def _checked_sampling(self, steps: int | None, guidance: float | None) -> tuple[int, float]:
        steps = self.steps if steps is None else steps
        guidance = self.guidance if guidance is None else guidance
        least, most = self._denoiser.least_steps, self._denoiser.most_steps
        wanted = f"a number of 1 (none) or more, such as {self.guidance}"
        return (
            check_whole(steps, "steps", least, most, f", which {self.name} takes"),
            check_number(guidance, "guidance", lambda value: value >= UNGUIDED, wanted),
        )


# --- the bundled decoder: a small diffusers UNet on the bundled CLIP's vectors, by the conventions of its training ----


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
