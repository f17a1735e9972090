"""What decides a model's pictures, as plain data: a manifest keeps it, and a later call compares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SAMPLED = 64  # entries of each tensor: training changes most of them, and a large model is read in a second


def pipeline_settings(pipeline: Any) -> dict[str, Any]:
    """Return a diffusers pipeline's class, where it was loaded from, and the settings of its components."""
    return {
        "pipeline": type(pipeline).__name__,
        "name_or_path": getattr(pipeline, "name_or_path", None),
        **component_settings(getattr(pipeline, "components", {})),
    }


def component_settings(components: Mapping[str, Any]) -> dict[str, Any]:
    """Return a digest of the weights of all nets, and each scheduler's class and configuration."""
    schedulers = {
        name: {"class": type(part).__name__} | _public(part.config)
        for name, part in components.items()
        if hasattr(part, "config") and not isinstance(part, nn.Module)
    }
    return {"weights": weights_digest(components), "schedulers": schedulers}


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what diffusers keeps for itself, such as its version."""
    return {name: plain(value) for name, value in config.items() if not name.startswith("_")}


def weights_digest(components: Mapping[str, Any]) -> str:
    """Hash the names, types and shapes of all parameters and buffers, and entries spread over each.

    It is the same on every device and in every memory format. Components that are no nets are passed over.
    """
    digest = hashlib.sha256()
    for part, net in sorted(components.items()):
        if isinstance(net, nn.Module):
            for name, tensor in chain(net.named_parameters(), net.named_buffers()):
                digest.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
                digest.update(_bytes(_spread(tensor)))
    return digest.hexdigest()


def _spread(tensor: Tensor) -> Tensor:
    """Pick by index, as a flat view of a channels-last tensor would be a copy."""
    if tensor.is_meta or not tensor.numel():  # diffusers leaves meta tensors where it offloads one by one
        return torch.empty(0)
    rows = tensor.detach().reshape(tensor.shape or (1,))
    places = np.linspace(0, rows.numel() - 1, min(rows.numel(), SAMPLED), dtype=np.int64)
    return rows[tuple(torch.from_numpy(axis) for axis in np.unravel_index(places, rows.shape))]


def plain(value: Any) -> Any:
    """Return what JSON can hold: plain values as they are, arrays and pictures as a hash, other objects in words."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(own) for own in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(_bytes(value)).hexdigest()}"
    if hasattr(value, "__array_interface__"):  # NumPy's arrays and Pillow's pictures
        array = np.asarray(value)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an address is another in the next run


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
