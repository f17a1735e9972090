"""A user's torch classifier as it is: its scores, its last linear layer, and what goes into that layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from fdgpu.arrays import to_device, to_host
from fdgpu.batches import Batches, Images, in_order, open_batches
from fdgpu.checks import check_whole
from fdgpu.device import BatchSize, halving_batches
from fdgpu.errors import InputError

BATCH = 1024


def class_scores(model: nn.Module, images: Images, *, batch: int = BATCH, workers: int = 0) -> Tensor:
    """Return a classifier's scores (logits), (n, k) float32 where the model is, in evaluation mode.

    Args:
        model: images → (n, k), on any device.
        images: (n, 3, h, w) uint8 or floats as the model takes them, or a Dataset of (image, label) or of images.
        batch: images at a time; halved when memory runs out.
        workers: processes that load a Dataset.

    Raises:
        InputError: if there is no image, or the model's output is not a tensor (n, k).
    """
    source = _opened(model, images, workers)
    scores = _joined(model, [out for out, _ in _outputs(model, partial(scores_of, model), source, batch)])
    if scores.ndim != 2 or len(scores) != len(source):
        raise InputError(f"the model gives {tuple(scores.shape)} for {len(source)} images: it has to give (n, classes)")
    return scores


def _joined(model: nn.Module, parts: list[Tensor]) -> Tensor:
    """Return what a model gave for all batches.

    Raises:
        InputError: if it gave another shape an image from batch to batch.
    """
    shapes = list(dict.fromkeys(tuple(part.shape[1:]) for part in parts))
    if len(shapes) > 1 or not parts[0].ndim:
        raise InputError(
            f"{type(model).__name__} gives another shape from batch to batch, {tuple(parts[0].shape)} and "
            f"{tuple(parts[-1].shape)}: it has to give one row an image, (n, classes)"
        )
    return torch.cat(parts)


def penultimate(model: nn.Module, images: Images, *, batch: int = BATCH, workers: int = 0) -> Tensor:
    """Return what goes into the model's last linear layer, (n, d) float32 where the model is (paper, B.1.6).

    Args:
        model: images → (n, k), on any device.
        images: as :func:`class_scores` takes them.
        batch: images at a time; halved when memory runs out.
        workers: processes that load a Dataset.

    Raises:
        InputError: if the model's output does not come straight from a linear layer.
    """
    source = _opened(model, images, workers)
    return inputs_and_targets(model, last_linear_of(model, source), source, batch)[0]


def last_linear_of(model: nn.Module, source: Batches) -> nn.Linear:
    """Return :func:`last_linear`, tried on the first image of a source."""
    return last_linear(model, next(source.over([torch.arange(1)]))[0])


def inputs_and_targets(
    model: nn.Module, layer: nn.Module, source: Batches, batch: int = BATCH
) -> tuple[Tensor, Tensor | None]:
    """Return what goes into a layer, (n, d), and the labels that a Dataset gives with its images, in one pass."""
    with inputs_of(layer, model) as features:
        parts = list(_outputs(model, features, source, batch))
    targets = [own for _, own in parts if own is not None]
    return _joined(model, [out for out, _ in parts]), torch.cat(targets) if targets else None


@contextmanager
def inputs_of(layer: nn.Module, model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    """Yield a function that runs the model and returns what went into one of its layers, on the model's device."""
    caught: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].detach()))

    def features(inputs: Tensor) -> Tensor:
        caught.clear()
        model(inputs)
        return caught[-1]

    try:
        yield features
    finally:
        hook.remove()


def last_linear(model: nn.Module, example: Tensor) -> nn.Linear:
    """Return the linear layer whose output is the model's output.

    Args:
        model: any classifier.
        example: a batch that it takes, of one image, say.

    Raises:
        InputError: if there is none; names the last module.
    """
    made: list[tuple[nn.Linear, Tensor]] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, _, out: made.append((layer, out))) for layer in layers]
    try:
        with evaluating(model), torch.no_grad():
            scores = scores_of(model, to_device(example, device_of(model)))
    finally:
        for hook in hooks:
            hook.remove()
    for layer, out in reversed(made):
        if _equal(out, scores) and _is_output(model, layer, example):
            return layer
    last = list(model.modules())[-1]
    raise InputError(
        f"the output of {type(model).__name__} does not come straight from a linear layer (its last module is "
        f"{type(last).__name__}): pass a model that ends in nn.Linear, or use layers='all' where you fine-tune"
    )


def _is_output(model: nn.Module, layer: nn.Linear, example: Tensor) -> bool:
    """Whether the model returns the layer's output unchanged.

    Equal scores for one image do not prove it: a ReLU behind the layer changes negative numbers only. So the layer's
    output is replaced by −1, 0, 1, …, and the model has to return exactly these.
    """
    planted: list[Tensor] = []

    def plant(_layer: nn.Module, _inputs: object, out: Tensor) -> Tensor:
        planted[:] = [torch.arange(-1, out.numel() - 1, device=out.device, dtype=out.dtype).view_as(out)]
        return planted[0].clone()  # a copy, as a layer behind may write into it

    hook = layer.register_forward_hook(plant)
    try:
        with evaluating(model), torch.no_grad():
            return _equal(scores_of(model, to_device(example, device_of(model))), planted[0])
    finally:
        hook.remove()


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return ``torch.equal``, which waits for the device unseen."""
    return one.shape == other.shape and bool(to_host((one == other).all(), "whether a layer's output is the model's"))


def scores_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the model's scores: its output, or the ``logits`` of it, as Hugging Face's models have them.

    Raises:
        InputError: if it is not a tensor, but a tuple, say.
    """
    out = model(inputs)
    out = getattr(out, "logits", out)
    if not isinstance(out, Tensor):
        raise InputError(
            f"{type(model).__name__} gives a {type(out).__name__}, not a tensor of scores: wrap it in a module whose "
            "forward returns the scores alone, such as model(x).logits"
        )
    return out


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and afterwards every module back to the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's parameters are, or else its buffers; the CPU for one that has neither."""
    return next((one.device for one in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the precision of the model's parameters; float32 for one that has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def _opened(model: nn.Module, images: Images, workers: int) -> Batches:
    return open_batches(images, None, device_of(model), workers, dtype_of(model))


def _outputs(
    model: nn.Module, function: Callable[[Tensor], Tensor], source: Batches, batch: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield ``function`` of every batch, where the model is, and its targets."""
    batch = check_whole(batch, "batch", 1)
    rows = BatchSize(min(batch, len(source)))
    with evaluating(model), torch.no_grad():
        for inputs, targets in source.over(in_order(len(source), batch)):
            run = partial(_slice, function, inputs)
            yield _joined(model, [out.float() for _, out in halving_batches(run, len(inputs), rows)]), targets


def _slice(function: Callable[[Tensor], Tensor], inputs: Tensor, start: int, stop: int) -> Tensor:
    return function(inputs[start:stop])
