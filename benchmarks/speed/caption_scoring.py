"""Caption scoring against the copy bandwidth: one pass over the captions of all classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.speed.counts import Work, caption_work
from benchmarks.speed.roofline import Kernel, Yardstick, kernel_row
from benchmarks.speed.rows import Row

NAME = "caption scoring"
BEST = 10  # captions that are ranked on each side


@dataclass(frozen=True)
class Captions:
    """So many classes with so many candidate captions each."""

    groups: int
    candidates: int
    d: int = 512

    @property
    def name(self) -> str:
        """As a shape of the table."""
        return f"captions: {self.groups} x {self.candidates} x {self.d}"

    def work(self, dtype: torch.dtype) -> Work:
        """Count scoring all of them."""
        from fdgpu.kernels.caption_scores import Launch

        tile = Launch.choose(dtype).block
        return caption_work(self.groups * self.candidates, self.groups, self.d, dtype.itemsize, tile)


IMAGENET = Captions(1000, 2000)  # 2 GB in float16
FEW = Captions(100, 200)


def caption_row(captions: Captions, against: Yardstick) -> Row:
    """Time it in float16 on CUDA; on the CPU the kernel's plain twin, in float32."""
    from fdgpu.kernels.caption_scores import score_captions

    device = against.device
    on_cuda = device.type == "cuda"
    dtype = torch.float16 if on_cuda else torch.float32
    groups, t, d = captions.groups, captions.groups * captions.candidates, captions.d
    generator = torch.Generator(device).manual_seed(0)
    rows = torch.randn(t, d, generator=generator, device=device, dtype=dtype)
    rows /= rows.norm(dim=1, keepdim=True)
    w = torch.randn(groups, d, generator=generator, device=device)
    references = torch.nn.functional.normalize(torch.randn(groups, d, generator=generator, device=device))
    offsets = torch.arange(0, t + 1, captions.candidates, device=device)
    scale = torch.ones(d, device=device)
    kernel = Kernel(
        NAME if on_cuda else f"{NAME}, plain twin",
        lambda: score_captions(rows, offsets, references, w, scale, BEST),
        captions.work(dtype),
    )
    return kernel_row(captions.name, groups, kernel, against)
