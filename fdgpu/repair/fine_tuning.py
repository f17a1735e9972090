"""Go on training a model that is there: its last layer, or all of it (paper, A.8)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import Dataset

from fdgpu.arrays import Array
from fdgpu.batches import is_dataset, open_batches
from fdgpu.device import choose_device
from fdgpu.errors import InputError
from fdgpu.networks import dtype_of, inputs_and_targets, last_linear_of
from fdgpu.repair.training_loop import train
from fdgpu.repair.training_recipe import TrainingRecipe


def fine_tune(
    model: nn.Module,
    images: Array | Dataset[object],
    labels: Array | None = None,
    *,
    recipe: TrainingRecipe | str,
    layers: Literal["last", "all"] = "last",
    features_once: bool | None = None,
    device: str | torch.device = "auto",
    workers: int = 0,
    **training: Any,
) -> nn.Module:
    """Return a copy of the model, trained further; the model itself is left alone.

    For ``"last"`` everything before the last linear layer stays as it is, statistics of normalisation included. What
    goes into that layer is then the same in every epoch, and is computed once. A Dataset may change its images at
    random: unless ``features_once=True`` says that it does not, its batches go through the whole model every time, and
    so they do with ``augment``.

    Args:
        model: any torch classifier.
        images: training and synthetic images, as :func:`train` takes them.
        labels: theirs; None for a Dataset.
        recipe: a recipe, or the name of a bundled one such as ``"cifar_last_layer"``.
        layers: ``"last"`` or ``"all"``.
        features_once: whether to compute what goes into the last layer once, and keep it in memory, n × d floats; None:
            where images are not a Dataset.
        device: where to train.
        workers: processes that load a Dataset.
        training: further arguments of :func:`train`: weights, loss, augment, seed, …

    Raises:
        InputError: for ``"last"``, if the model's output does not come straight from a linear layer; and what
            :func:`train` cannot take.
        ModelError: where the loss is no longer finite.
    """
    if layers not in ("last", "all"):
        raise InputError(f"layers is {layers!r}: use 'last' or 'all'")
    settings = {"recipe": recipe, "device": device, **training}
    target = choose_device(device).device
    tuned = deepcopy(model).to(target)
    if layers == "all":
        return train(tuned, images, labels, workers=workers, **settings)
    source = open_batches(images, labels, target, workers, dtype_of(tuned))
    head = last_linear_of(tuned, source)
    once = not is_dataset(images) if features_once is None else features_once
    if training.get("augment") is not None or not once:
        return train(tuned, source, only=head, **settings)
    features, targets = inputs_and_targets(tuned, head, source)
    train(head, features, targets, **settings)
    return tuned.eval()
