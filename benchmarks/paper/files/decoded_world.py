"""CIFAR-10's own images, and a pipeline of diffusers that samples from the embedder's space (4.1, A.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.audited import Audited
from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.files.cifar import CIFAR10_NAMES, cifar10
from benchmarks.paper.files.divided import Shares
from benchmarks.paper.files.pipelines import check_space, load_decoder
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from fdgpu import Decoder
from fdgpu.captions import CaptionRecipe


@dataclass(frozen=True)
class Photographs(Shares):
    """One seed's lot of CIFAR-10's images, in which nothing is planted."""

    @property
    def clip(self) -> Any:
        """What embeds photographs and captions."""
        return self.lab.clip

    def free(self) -> Audited:
        """Train and audit the weak model of the experiment ``cifar10``."""
        return Audited.of(self)

    def planted(self) -> None:
        """Return None: nobody has taught a model of these photographs to fail."""

    def decoder(self) -> Decoder:
        """Load the pipeline that the settings name."""
        return load_decoder(self.settings["decoder"], self.clip)


def on_files(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Photographs]:
    """Return the worlds of CIFAR-10's files, see :func:`benchmarks.paper.files.cifar.cifar10`.

    Raises:
        InputError: for a missing file, or a pipeline of another CLIP's space.
    """
    splits, captions = cifar10(folder), CaptionRecipe.resolve("cifar10", CIFAR10_NAMES)
    check_space(settings["decoder"], settings["clip"], clip)
    lab = Lab.on_files(clip, recipe_of(settings), workers=settings.get("workers"))
    seen = SeenOnce(lab, splits)
    return lambda seed: Photographs(lab, settings, seed, captions, seen)
