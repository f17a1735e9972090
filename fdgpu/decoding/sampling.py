"""From noise to pictures: a seed a picture, and the one loop over time that every pipeline shares."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fdgpu.arrays import Array, to_device
from fdgpu.checks import LARGEST_SEED, check_seed, shown
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.device import BatchSize, halving_batches
from fdgpu.errors import InputError
from fdgpu.fingerprint import Settings
from fdgpu.progress import Reporter, silent

UNGUIDED = 1.0

Seeds = int | Array  # one number, or one a picture
Predict = Callable[[Tensor, Tensor, bool], Tensor]


class Scheduler(Protocol):
    """What the loop asks of a scheduler of diffusers."""

    config: Mapping[str, object]
    timesteps: Tensor
    init_noise_sigma: float
    step: Callable[..., tuple[Tensor, ...]]  # each scheduler takes other arguments beside (prediction, t, latents)

    def set_timesteps(self, num_inference_steps: int, device: torch.device) -> None:
        """Choose the times."""

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Return what the net is shown of the latents."""
        ...


@dataclass(frozen=True)
class Batch:
    """Pictures that are sampled together: one generator each, so that none depends on its neighbours.

    Attributes:
        generators: n, on the CPU, whose numbers are the same on every device.
        steps: of the scheduler.
        guidance: weight of the condition; 1 leaves the unconditional rows out.
        device, dtype: of the latents.
        report: gets the stage and how many of its steps are done.
        decoding: how many latents are made pictures at once, which takes more memory than a step of the net.
    """

    generators: list[torch.Generator]
    steps: int
    guidance: float
    device: torch.device
    dtype: torch.dtype
    report: Reporter = silent
    decoding: BatchSize = field(default_factory=lambda: BatchSize(16))

    @property
    def guided(self) -> bool:
        """Whether unconditional rows come along."""
        return self.guidance != UNGUIDED

    def conditions(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        """Return the condition of every row of the net's batch.

        Args:
            unconditional: (1 or n, …) what guidance steers away from.
            conditional: (n, …) the pictures' own.

        Returns:
            (2n, …), the unconditional rows first; ``conditional`` alone where nothing guides.
        """
        if not self.guided:
            return conditional
        return torch.cat([unconditional.expand_as(conditional), conditional])

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Draw (n, *shape), each row from its own generator."""
        drawn = [torch.randn(shape, generator=own, dtype=self.dtype) for own in self.generators]
        return to_device(torch.stack(drawn), self.device)

    def denoise(
        self,
        stage: str,
        scheduler: Scheduler,
        shape: tuple[int, int, int],
        predict: Predict,
        *,
        steps: int | None = None,
        guided: bool = True,
        eta: float = 0.0,
    ) -> Tensor:
        """Go from noise to latents.

        Args:
            stage: what progress calls it.
            scheduler: copied, and left as it is.
            shape: (c, h, w) of one latent.
            predict: takes latents (m, c, h, w), a time on their device, and whether it is the last; m = 2n where
                guidance is on, and the first n rows are then unconditional. Returns (m, c, h, w), or (m, 2c, h, w) of a
                net that predicts a variance too.
            steps: of the scheduler; None: the batch's own.
            guided: False for a net that knows no guidance, whose m is always n.
            eta: how much of a step's noise a DDIM scheduler draws anew: 0 none, 1 all of it, as in DDPM.

        Returns:
            (n, c, h, w).
        """
        scheduler = copy.deepcopy(scheduler)  # a multistep scheduler keeps the predictions of the batch that it is in
        # schedulers read their times: on the device, the host would wait for each
        scheduler.set_timesteps(self.steps if steps is None else steps, device=torch.device("cpu"))
        guided = guided and self.guided
        channels, times = shape[0], to_device(scheduler.timesteps, self.device)
        latents: Tensor = self.noise(shape) * scheduler.init_noise_sigma  # (n, c, h, w)
        if self.device.type == "cuda":
            latents = latents.contiguous(memory_format=torch.channels_last)
        for done, (t, accepted) in enumerate(self._times(scheduler, shape, eta)):
            self.report(stage, done, len(times))
            # one call of the net a step: the same latents twice, (2n, c, h, w), once for each half of the conditions
            rows = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, t)
            # (2n or n, c or 2c, h, w)
            prediction = predict(rows, times[done], done == len(times) - 1).to(latents.dtype)
            if guided:
                prediction = _guide(prediction, self.guidance, channels)  # (n, c or 2c, h, w)
            if not _learns_variance(scheduler):
                prediction = prediction[:, :channels]  # this scheduler has no use for a predicted variance
            latents = scheduler.step(prediction, t, latents, **accepted)[0]
        self.report(stage, len(times), len(times))
        return latents

    def _times(
        self, scheduler: Scheduler, shape: tuple[int, int, int], eta: float
    ) -> Iterator[tuple[Tensor, dict[str, object]]]:
        """Yield each time, on the host, with what this scheduler's step takes beside it."""
        takes = inspect.signature(scheduler.step).parameters
        accepted: dict[str, object] = {"return_dict": False}
        if "generator" in takes:
            accepted["generator"] = self.generators
        if "eta" in takes:
            accepted["eta"] = eta
        for i, t in enumerate(scheduler.timesteps):
            if "prev_timestep" in takes:  # unCLIP's scheduler steps by one unless it gets the next time
                accepted["prev_timestep"] = scheduler.timesteps[i + 1] if i + 1 < len(scheduler.timesteps) else None
            if eta and "variance_noise" in takes:  # what it would draw from these generators, and wait to upload
                accepted |= {"variance_noise": self.noise(shape), "generator": None}
            yield t, accepted

    def in_parts(self, decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
        """Make latents pictures, fewer at a time where memory runs out, so that no denoising is done twice."""
        parts = halving_batches(lambda start, stop: decode(latents[start:stop]), len(latents), self.decoding)
        return torch.cat([pictures for _, pictures in parts])


class Denoiser(Protocol):
    """A diffusion model that is conditioned on vectors of a CLIP space, whichever pipeline it comes from.

    Attributes:
        name: what errors call it.
        space: the CLIP space that it was trained on.
        size: height and width of its pictures, in pixels.
        steps, guidance: what it samples with by default.
        least_steps, most_steps: what its scheduler can do.
        length: of the vectors it was trained on; None where it takes them as they come.
    """

    name: str
    space: ClipSpace
    size: tuple[int, int]
    steps: int
    guidance: float
    least_steps: int
    most_steps: int
    length: float | None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """In which precision it computes."""
        ...

    @property
    def settings(self) -> Settings:
        """What decides its pictures beside vectors and sampling, as plain data for a manifest."""
        ...

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d), on its device and in its precision, to pictures (n, 3, h, w) in [0, 1]."""
        ...


def picture_seeds(seed: Seeds, n: int) -> list[int]:
    """Return one seed a picture: of one number, a hash of (seed, i), so that no two pictures share noise by a sum.

    Raises:
        InputError: for a number of seeds that is not the number of pictures, and seeds that are not whole or negative.
    """
    if isinstance(seed, (Real, str, bytes)) or seed is None:
        whole = check_seed(seed)
        return [int(np.random.SeedSequence([whole, i]).generate_state(1, np.uint64)[0] >> 1) for i in range(n)]
    seeds = listed_seeds(seed, "seed")
    if len(seeds) != n:
        raise InputError(f"seed holds {len(seeds)} seeds, there are {n} pictures: pass one number, or one a picture")
    return seeds


def listed_seeds(seeds: Sequence[int] | Array, name: str) -> list[int]:
    """Return seeds that are given one by one.

    Args:
        seeds: whole numbers from 0 to 2**63 - 1.
        name: what the caller calls them, for the error message.

    Raises:
        InputError: if they are something else.
    """
    try:
        listed = [operator.index(one) for one in seeds]
    except TypeError:  # a fraction, a text, or nothing to go through
        raise InputError(f"{name} is {shown(seeds)}: pass whole numbers, such as [0, 1]") from None
    outside = [one for one in listed if not 0 <= one <= LARGEST_SEED]
    if outside:
        raise InputError(f"{name} holds {outside[0]}: use 0 or more, and less than 2**63")
    return listed


def _guide(prediction: Tensor, guidance: float, channels: int) -> Tensor:
    """Classifier-free guidance: u + guidance · (c − u) of a prediction's mean, its variance from c alone.

    (2n, c or 2c, h, w), the unconditional rows u first, the conditional c after them → (n, c or 2c, h, w).
    """
    unconditional, conditional = prediction.chunk(2)
    mean = torch.lerp(unconditional[:, :channels], conditional[:, :channels], guidance)
    return torch.cat([mean, conditional[:, channels:]], dim=1)


def _learns_variance(scheduler: Scheduler) -> bool:
    """Whether it takes a predicted variance, as further c channels ("learned" or "learned_range")."""
    return str(scheduler.config.get("variance_type", "")).startswith("learned")
