"""What decoding asks of a diffusion model, whichever pipeline it comes from."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from fdgpu.decoding.spaces import ClipSpace
from fdgpu.decoding.stage import Batch


class Denoiser(Protocol):
    """A diffusion model that is conditioned on vectors of a CLIP space.

    Attributes:
        name: what errors call it.
        space: the CLIP space that it was trained on.
        size: height and width of its pictures, in pixels.
        steps, guidance: what it samples with unless told otherwise.
        least_steps, most_steps: what its scheduler can do.
        length: of the vectors it was trained on; None where it takes them as they come.
        settings: what decides its pictures beside vectors and sampling, as plain data for a manifest.
        device, dtype: where it computes, and in which precision.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def space(self) -> ClipSpace: ...  # noqa: D102
    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def steps(self) -> int: ...  # noqa: D102
    @property
    def least_steps(self) -> int: ...  # noqa: D102
    @property
    def most_steps(self) -> int: ...  # noqa: D102
    @property
    def guidance(self) -> float: ...  # noqa: D102
    @property
    def length(self) -> float | None: ...  # noqa: D102
    @property
    def settings(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d), on its device and in its precision, to pictures (n, 3, h, w) in [0, 1]."""
        ...
