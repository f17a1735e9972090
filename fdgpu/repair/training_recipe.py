"""How a model is trained, as plain data: the paper's figures by name, or a user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fdgpu.checks import check_number, check_whole, shown
from fdgpu.errors import InputError


@dataclass(frozen=True)
class TrainingRecipe:
    """SGD with a triangular learning rate (paper, A.3).

    ``peak_lr`` is reached at the end of epoch ``peak_epoch``, zero at the end of the last; ``batch`` is in images,
    ``resolution`` in pixels.

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

    def __post_init__(self) -> None:
        for name in ("epochs", "peak_epoch", "batch", "resolution"):
            object.__setattr__(self, name, check_whole(getattr(self, name), name, 1))
        if self.peak_epoch > self.epochs:
            raise InputError(f"peak_epoch is {self.peak_epoch}, after the last of {self.epochs} epochs: lower it")
        check_number(self.peak_lr, "peak_lr", lambda rate: rate > 0, "a number greater than 0, such as 0.1")
        check_number(self.momentum, "momentum", lambda share: 0 <= share < 1, "a number from 0 to below 1, such as 0.9")
        check_number(self.weight_decay, "weight_decay", lambda decay: decay >= 0, "0 or more, such as 5e-4")

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
    """Return a recipe; a name is one of those that are bundled."""
    return recipe if isinstance(recipe, TrainingRecipe) else TrainingRecipe.named(recipe)


def recipe_names() -> list[str]:
    """Return the names of the bundled recipes."""
    return sorted(_bundled())


@cache
def _bundled() -> dict[str, TrainingRecipe]:
    """Read ``training_recipes.toml``; the result is cached, since it never changes while a program runs."""
    text = resources.files("fdgpu.repair").joinpath("training_recipes.toml").read_text(encoding="utf-8")
    return {name: TrainingRecipe(**figures) for name, figures in tomllib.loads(text).items()}


def triangular(step: int, steps: int, peak: int) -> float:
    """Return the share of the peak learning rate: linearly up to ``peak`` steps, then linearly to zero."""
    return step / peak if step < peak else max(0.0, (steps - step) / (steps - peak))
