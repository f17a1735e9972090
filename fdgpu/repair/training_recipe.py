"""How a model is trained, as plain data: the paper's figures by name, or a user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources

from torch import nn

from fdgpu.checks import check_flag, check_number, check_whole, shown
from fdgpu.errors import InputError
from fdgpu.repair.augmentation import Augment, randomly_changed


@dataclass(frozen=True)
class TrainingRecipe:
    """SGD with a triangular learning rate, and how images are prepared and changed (paper, A.3).

    Attributes:
        epochs: in all.
        peak_lr: reached at the end of epoch ``peak_epoch``; zero at the end of the last.
        peak_epoch: see ``peak_lr``.
        batch: in images.
        resolution: in pixels.
        momentum: of SGD.
        weight_decay: of SGD.
        mean: by colour, in [0, 1], which the network subtracts: see :meth:`normalised`. None with ().
        deviation: by which the network divides then, likewise.
        centre: share of the shorter side that is cut out of the middle of an image that is a file.
        random_crop: in training cut out a random part of a file in place of its middle, 8 to 100 % of its area.
        flip: mirror half of the images in training; this and the next two are what :attr:`augment` does.
        shift: pixels by which an image is moved at most, in both directions.
        cutout: side in pixels of the square that is covered.

    Raises:
        InputError: for a figure that cannot be.

    Example:
        >>> TrainingRecipe.named("celeba").peak_lr
        0.02
    """

    epochs: int
    peak_lr: float
    peak_epoch: int
    batch: int
    resolution: int
    momentum: float = 0.9
    weight_decay: float = 5e-4
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    centre: float = 1.0
    random_crop: bool = False
    flip: bool = False
    shift: int = 0
    cutout: int = 0

    def __post_init__(self) -> None:
        self._check_images()
        for name in ("epochs", "peak_epoch", "batch", "resolution"):
            object.__setattr__(self, name, check_whole(getattr(self, name), name, 1))
        if self.peak_epoch > self.epochs:
            raise InputError(f"peak_epoch is {self.peak_epoch}, after the last of {self.epochs} epochs: lower it")
        check_number(self.peak_lr, "peak_lr", lambda rate: rate > 0, "a number greater than 0, such as 0.1")
        check_number(self.momentum, "momentum", lambda share: 0 <= share < 1, "a number from 0 to below 1, such as 0.9")
        check_number(self.weight_decay, "weight_decay", lambda decay: decay >= 0, "0 or more, such as 5e-4")

    def _check_images(self) -> None:
        for name in ("mean", "deviation"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.mean) != len(self.deviation):
            raise InputError(
                f"mean has {len(self.mean)} numbers, deviation {len(self.deviation)}: pass one a colour, or none"
            )
        for value in self.mean:
            check_number(value, "mean", lambda mean: 0 <= mean <= 1, "numbers from 0 to 1")
        for value in self.deviation:
            check_number(value, "deviation", lambda deviation: 0 < deviation <= 1, "numbers above 0, up to 1")
        for name in ("flip", "random_crop"):
            check_flag(getattr(self, name), name)
        for name in ("shift", "cutout"):
            check_whole(getattr(self, name), name, 0, self.resolution, ", the recipe's resolution")
        check_number(self.centre, "centre", lambda share: 0 < share <= 1, "a share above 0, up to 1")

    @property
    def augment(self) -> Augment | None:
        """What :func:`fdgpu.repair.train` is to do to every batch, as its argument ``augment``; None for nothing.

        What comes in from outside, and covers, has the colour ``mean``, in whole steps of 255.
        """
        if not (self.flip or self.shift or self.cutout):
            return None
        fill = tuple(int(255 * value) / 255 for value in self.mean) or (0.0,)
        return partial(randomly_changed, flip=self.flip, shift=self.shift, cutout=self.cutout, fill=fill)

    def normalised(self, network: nn.Module) -> nn.Module:
        """Return a network of images in [0, 1] that subtracts ``mean`` and divides by ``deviation`` first."""
        if not self.mean:
            return network
        from torchvision.transforms.v2 import Normalize  # half a second, for what trains other networks too

        return nn.Sequential(Normalize(self.mean, self.deviation), network)

    @classmethod
    def named(cls, name: str) -> TrainingRecipe:
        """Return a bundled recipe, such as ``"cifar"`` or ``"celeba"``.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        if not isinstance(name, str) or name not in _bundled():
            raise InputError(
                f"there is no recipe {shown(name)}: use one of {', '.join(recipe_names())}, or a TrainingRecipe"
            )
        return _bundled()[name]


def as_recipe(recipe: TrainingRecipe | str) -> TrainingRecipe:
    """Return a recipe; a name is one of those that are bundled.

    Example:
        >>> as_recipe("cifar").batch
        512
    """
    return recipe if isinstance(recipe, TrainingRecipe) else TrainingRecipe.named(recipe)


def recipe_names() -> list[str]:
    """Return the names of the bundled recipes.

    Example:
        >>> recipe_names()[:2]
        ['celeba', 'chestxray14']
    """
    return sorted(_bundled())


@cache
def _bundled() -> dict[str, TrainingRecipe]:
    """Read ``training_recipes.toml``; the result is cached, since it never changes while a program runs."""
    text = resources.files("fdgpu.repair").joinpath("training_recipes.toml").read_text(encoding="utf-8")
    return {name: TrainingRecipe(**figures) for name, figures in tomllib.loads(text).items()}


def triangular(step: int, steps: int, peak: int) -> float:
    """Return the share of the peak learning rate: linearly up to ``peak`` steps, then linearly to zero.

    Example:
        >>> [triangular(step, steps=10, peak=2) for step in (1, 2, 6, 10)]
        [0.5, 1.0, 0.5, 0.0]
    """
    return step / peak if step < peak else max(0.0, (steps - step) / (steps - peak))
