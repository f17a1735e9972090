"""Training as the paper does it, anew or further: SGD with a triangular learning rate, and its ResNet-18 (A.3, A.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from fdgpu.arrays import Array, to_device, to_host, to_torch
from fdgpu.checks import check_name, check_seed, check_whole
from fdgpu.device import choose_device
from fdgpu.errors import InputError, ModelError
from fdgpu.networks import (
    Batches,
    as_targets,
    dtype_of,
    inputs_and_targets,
    is_dataset,
    last_linear_of,
    open_batches,
    scores_of,
)
from fdgpu.progress import Reporter, silent
from fdgpu.repair.augmentation import Augment
from fdgpu.repair.training_recipe import TrainingRecipe, as_recipe, triangular

Loss = Callable[[Tensor, Tensor], Tensor]
LARGEST_SMALL = 64  # pixels; the stem for ImageNet would leave 2 x 2 of a 64 x 64 image


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return (n,) from scores (n, k) and classes (n,).

    Raises:
        InputError: for targets (n, k), several labels an image.

    Example:
        >>> cross_entropy(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])).round(decimals=3)
        tensor([0.1270, 2.1270])
    """
    if targets.ndim != 1:
        raise InputError(
            f"labels has the shape {tuple(targets.shape)}, the loss takes one class an image, (n,): for several labels "
            "an image use binary_cross_entropy"
        )
    return F.cross_entropy(scores, targets, reduction="none")


def binary_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Return (n,), the mean over labels, from scores (n, k) and targets (n, k) of 0 and 1 (ChestX-ray14, A.3).

    Raises:
        InputError: for targets of another shape.

    Example:
        >>> binary_cross_entropy(torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])).round(decimals=3)
        tensor([0.4100])
    """
    if targets.shape != scores.shape:
        raise InputError(
            f"labels has the shape {tuple(targets.shape)}, the model's scores {tuple(scores.shape)}: "
            "binary_cross_entropy takes a 0 or 1 for each score; for one class an image use cross_entropy"
        )
    return F.binary_cross_entropy_with_logits(scores, targets, reduction="none").mean(dim=1)


def train(
    model: nn.Module,
    images: Array | Dataset[object],
    labels: Array | None = None,
    *,
    recipe: TrainingRecipe | str,
    weights: Array | None = None,
    loss: Loss = cross_entropy,
    augment: Augment | None = None,
    stop_after: int | None = None,
    only: nn.Module | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    amp: bool | None = None,
    workers: int = 0,
    after_epoch: Callable[[int, nn.Module], None] | None = None,
    progress: Reporter = silent,
) -> nn.Module:
    """Train a model in place, and return it in evaluation mode.

    Args:
        model: images → (n, k) scores, of float32 parameters.
        images: (n, 3, h, w) uint8 or floats, or a Dataset of (image, label).
        labels: (n,) classes from 0 to k - 1, or (n, k) of 0 and 1 with ``loss=binary_cross_entropy``; None for a
            Dataset.
        recipe: epochs, batch and learning rate, or the name of a bundled recipe. A last batch of a single image goes
            with the one before, since normalisation over a batch needs two.
        weights: (n,) factors of the samples' losses, not normalised: twice the weight is twice the gradient (the
            paper's up-weighting, A.2). None weighs all alike.
        loss: scores and targets → one number a sample.
        augment: changes every batch of inputs; see :func:`flip_and_shift`.
        stop_after: epochs to run, where the schedule of the whole recipe is broken off (Just Train Twice).
        only: the part of the model that is trained; the rest stays as it is, statistics of normalisation included.
        seed: of the order of the batches, and of ``augment``.
        device: where to train; the model stays there.
        amp: mixed precision; by default where the device is CUDA.
        workers: processes that load a Dataset.
        after_epoch: called with the number of epochs done and the model.
        progress: called after every epoch.

    Raises:
        InputError: for no sample, labels that are not the model's classes, weights that are negative, not finite or
            all zero, numbers that differ, a model of half precision, or a ``stop_after`` beyond the recipe.
        ModelError: where the loss is no longer finite; says after which epoch.

    Example:
        >>> from dataclasses import replace
        >>> images, labels = torch.rand(32, 3, 32, 32), torch.arange(32) % 2
        >>> recipe = replace(fdgpu.repair.TrainingRecipe.named("demo"), epochs=2, peak_epoch=1)
        >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
        >>> train(network, images, labels, recipe=recipe, device="cpu").training
        False
    """
    target = choose_device(device).device
    recipe = as_recipe(recipe)
    last = _last_epoch(stop_after, recipe)
    model.to(target).to(memory_format=torch.channels_last)
    source = open_batches(images, labels, target, workers, dtype_of(model))
    factors = None if weights is None else _check_weights(weights, len(source))
    generator = torch.Generator().manual_seed(check_seed(seed))
    with _training(model, only) as parameters:
        step = _Stepper(model, parameters, recipe, loss, len(source), target.type == "cuda" if amp is None else amp)
        for epoch in range(last):
            for rows, inputs, targets in _shuffled(source, recipe.batch, generator):
                changed = inputs if augment is None else augment(inputs, generator)
                step(changed, targets, None if factors is None else to_device(factors[rows], target))
            step.check_loss(epoch + 1)
            progress("train", epoch + 1, last)
            if after_epoch is not None:
                after_epoch(epoch + 1, model)
    return model.eval()


class _Stepper:
    """One optimiser, its schedule, and in half precision the scale of its gradients."""

    def __init__(
        self, model: nn.Module, parameters: list[nn.Parameter], recipe: TrainingRecipe, loss: Loss, n: int, amp: bool
    ) -> None:
        self.model, self.recipe, self.loss, self.amp = model, recipe, loss, amp
        self.kind = parameters[0].device.type
        self.half = torch.float16 if self.kind == "cuda" else torch.bfloat16
        self.optimizer = torch.optim.SGD(
            parameters, lr=recipe.peak_lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
            fused=self.kind == "cuda",  # another would wait to hear of infinite gradients at each step
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(self.kind, enabled=amp and self.half == torch.float16)
        self.per_epoch = len(_groups(torch.arange(n), recipe.batch))
        self.steps, self.peak, self.done = recipe.epochs * self.per_epoch, recipe.peak_epoch * self.per_epoch, 0
        self.total = torch.zeros((), device=parameters[0].device)  # of the losses, so that one look an epoch will do

    def __call__(self, inputs: Tensor, targets: Tensor, factors: Tensor | None) -> None:
        # the triangle is one step longer on both sides: neither the first step nor the last has a rate of zero
        share = triangular(self.done + 1, self.steps + 1, self.peak)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.peak_lr * share
        with torch.autocast(self.kind, self.half, enabled=self.amp):
            scores = scores_of(self.model, inputs)
        if self.done < self.per_epoch:  # by its end every label has been seen
            _check_targets(targets, scores)
        losses = self.loss(scores.float(), to_device(targets, scores.device))  # (n,)
        mean = losses.mean() if factors is None else (losses * factors).mean()
        self.total += mean.detach()
        self.optimizer.zero_grad()
        self.scaler.scale(mean).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.done += 1

    def check_loss(self, epoch: int) -> None:
        """Raise a ModelError if a loss was not finite."""
        if not bool(to_host(self.total.isfinite(), "whether the loss is finite")):
            raise ModelError(
                f"the loss is no longer finite after epoch {epoch} of {self.recipe.epochs}: look for images that hold "
                f"NaN, or lower the recipe's peak_lr, {self.recipe.peak_lr:g}"
            )


def _last_epoch(stop_after: int | None, recipe: TrainingRecipe) -> int:
    if stop_after is None:
        return recipe.epochs
    return check_whole(stop_after, "stop_after", 1, recipe.epochs, ", the recipe's epochs")


def _groups(rows: Tensor, size: int) -> list[Tensor]:
    """Split into batches; a last one of a single row joins the one before."""
    groups = list(rows.split(size))
    if len(groups) > 1 and len(groups[-1]) == 1 < size:
        groups[-2:] = [torch.cat(groups[-2:])]
    return groups


def _shuffled(source: Batches, size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    groups = _groups(torch.randperm(len(source), generator=generator), size)
    for rows, (inputs, targets) in zip(groups, source.over(groups), strict=True):
        if targets is None:
            raise InputError("labels is missing: pass one number an image, or a Dataset of (image, label)")
        yield rows, inputs, as_targets(targets)


def _check_targets(targets: Tensor, scores: Tensor) -> None:
    if scores.ndim != 2:
        raise InputError(
            f"the model gives {tuple(scores.shape)} for {len(targets)} images: it has to give (n, classes)"
        )
    if targets.ndim == 1 and not bool(((targets >= 0) & (targets < scores.shape[1])).all()):
        raise InputError(
            f"labels holds {int(targets.min())} to {int(targets.max())}, the model has {scores.shape[1]} classes: pass "
            f"class ids from 0 to {scores.shape[1] - 1}, in the order of its scores"
        )
    if targets.ndim == 2 and not bool(((targets >= 0) & (targets <= 1)).all()):
        raise InputError("labels of shape (n, k) holds a number outside [0, 1]: pass 1 where a label applies, else 0")


@contextmanager
def _training(model: nn.Module, only: nn.Module | None) -> Iterator[list[nn.Parameter]]:
    """Open the model, or one part of it, for training; give what is to be optimised."""
    if dtype_of(model) in (torch.float16, torch.bfloat16):
        raise InputError(
            f"{type(model).__name__} is of {dtype_of(model)}, in which steps of SGD are lost to rounding: train "
            "model.float(), whose passes are in half precision all the same with amp=True"
        )
    model.eval()
    part = model if only is None else only
    part.train()
    own = {id(parameter) for parameter in part.parameters()}
    frozen = [p for p in model.parameters() if id(p) not in own and p.requires_grad]
    parameters = [p for p in part.parameters() if p.requires_grad]
    if not parameters:
        raise InputError(f"{type(part).__name__} has no parameter that requires a gradient: unfreeze what is to learn")
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield parameters
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def _check_weights(weights: Array, n: int) -> Tensor:
    """Return (n,) float32 factors of losses on the host; none is negative, and not all are zero."""
    factors = torch.from_numpy(to_host(to_torch(weights, "weights").float(), "weights of the losses"))
    if factors.shape != (n,):
        raise InputError(f"weights has shape {tuple(factors.shape)}, there are {n} samples: pass one weight each")
    if not bool(factors.isfinite().all()) or bool((factors < 0).any()):
        raise InputError("weights holds a number that is negative, NaN or infinite: use 0 or more, such as 1 and 2")
    if float(factors.sum()) == 0:
        raise InputError("weights sum to zero: no sample would be learned from; give at least one a weight above 0")
    return factors


def resnet18(classes: int, resolution: int) -> nn.Module:
    """Return an untrained ResNet-18.

    Up to 64 pixels its stem is one 3 × 3 convolution that keeps the resolution, as is usual for CIFAR; above it is
    ImageNet's, which divides it by four.

    Example:
        >>> resnet18(classes=10, resolution=32)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    from torchvision.models import resnet18 as imagenet_resnet18  # half a second, for what trains other networks too

    network: nn.Module = imagenet_resnet18(weights=None, num_classes=classes)
    if resolution <= LARGEST_SMALL:
        network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network


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

    Example:
        >>> images, labels = torch.rand(32, 3, 32, 32), torch.arange(32) % 2
        >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
        >>> tuned = fine_tune(network, images, labels, recipe="cifar_last_layer", device="cpu")
        >>> tuned is network
        False
    """
    check_name(layers, "layers", ("last", "all"))
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
