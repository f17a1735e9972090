"""One way from noise to latents, and the loop over time that every pipeline shares."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fdgpu.device import BatchSize, halving_batches
from fdgpu.progress import Reporter, silent

UNGUIDED = 1.0


@dataclass(frozen=True)
class Stage:
    """A scheduler, and the net that it asks.

    ``predict`` takes (m, c, h, w) and a time. It returns as many channels, or twice as many where it predicts a
    variance too. Where a batch is guided, the first half of its rows is unconditional, unless the stage never is.
    ``eta`` is how much of a step's noise a DDIM scheduler draws anew: 0 none, 1 all of it, as in DDPM.
    """

    name: str
    scheduler: Any
    shape: tuple[int, int, int]
    predict: Callable[[Tensor, Tensor], Tensor]
    steps: int
    guided: bool = True
    eta: float = 0.0


@dataclass(frozen=True)
class Batch:
    """Pictures that are sampled together: one generator each, so that none depends on its neighbours.

    Attributes:
        generators: on the CPU, whose numbers are the same on every device.
        steps: of the scheduler.
        guidance: weight of the condition; 1 leaves the unconditional half out.
        device, dtype: of the latents.
        report: told the stage and how many of its steps are done.
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

    def beside(self, unconditional: Tensor, conditional: Tensor) -> Tensor:
        """Return what ``predict`` is told: both halves, or the second alone where nothing guides."""
        if not self.guided:
            return conditional
        return torch.cat([unconditional.expand_as(conditional), conditional])

    def noise(self, shape: tuple[int, ...]) -> Tensor:
        """Draw (n, *shape), each row from its own generator."""
        drawn = [torch.randn(shape, generator=own, dtype=self.dtype) for own in self.generators]
        return torch.stack(drawn).to(self.device)

    def denoise(self, stage: Stage) -> Tensor:
        """Go from noise to latents (n, c, h, w)."""
        scheduler = copy.deepcopy(stage.scheduler)  # multistep schedulers remember the batch they are in
        scheduler.set_timesteps(stage.steps, device=self.device)
        guided = self.guided and stage.guided
        latents: Tensor = self.noise(stage.shape) * scheduler.init_noise_sigma
        if self.device.type == "cuda":
            latents = latents.contiguous(memory_format=torch.channels_last)
        for done, (t, accepted) in enumerate(self._times(scheduler, stage.eta)):
            self.report(stage.name, done, len(scheduler.timesteps))
            rows = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, t)
            said = stage.predict(rows, t).to(latents.dtype)
            if guided:
                said = _guide(said, self.guidance, latents.shape[1])
            latents = scheduler.step(_spoken(said, scheduler, latents.shape[1]), t, latents, **accepted)[0]
        self.report(stage.name, len(scheduler.timesteps), len(scheduler.timesteps))
        return latents

    def _times(self, scheduler: Any, eta: float) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Yield each time with what this scheduler's step takes beside it."""
        takes = inspect.signature(scheduler.step).parameters
        accepted: dict[str, Any] = {"return_dict": False}
        if "generator" in takes:
            accepted["generator"] = self.generators
        if "eta" in takes:
            accepted["eta"] = eta
        for i, t in enumerate(scheduler.timesteps):
            if "prev_timestep" in takes:
                accepted["prev_timestep"] = scheduler.timesteps[i + 1] if i + 1 < len(scheduler.timesteps) else None
            yield t, accepted

    def in_parts(self, decode: Callable[[Tensor], Tensor], latents: Tensor) -> Tensor:
        """Make latents pictures, fewer at a time where memory runs out, so that no denoising is done twice."""
        parts = halving_batches(lambda start, stop: decode(latents[start:stop]), len(latents), self.decoding)
        return torch.cat([pictures for _, pictures in parts])


def _guide(said: Tensor, guidance: float, channels: int) -> Tensor:
    """Classifier-free guidance of the prediction; a variance is the conditional half's."""
    nothing, something = said.chunk(2)
    mean = torch.lerp(nothing[:, :channels], something[:, :channels], guidance)
    return torch.cat([mean, something[:, channels:]], dim=1)


def _spoken(said: Tensor, scheduler: Any, channels: int) -> Tensor:
    """Leave out a variance that the scheduler has no use for."""
    learned = str(scheduler.config.get("variance_type", "")).startswith("learned")
    return said if learned else said[:, :channels]
