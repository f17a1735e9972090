"""What decides what is computed, as plain data: a record keeps it, and a later call compares."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from fdgpu.arrays import to_host
from fdgpu.cuda import card_name, driver_version, quietly
from fdgpu.extras import installed
from fdgpu.version import __version__

Settings = dict[str, object]  # what JSON can hold
COMPUTING = ("torch", "triton", "numba", "numpy", "scipy", "open_clip", "diffusers", "faiss", "cupy", "cuml")

SAMPLED = 64  # entries of each tensor: training changes most of them, and a large model is read in a second


def versions(device: torch.device | None = None) -> dict[str, str]:
    """Return the versions of all that computes, by name; what is not here is left out, and nothing is imported.

    Args:
        device: whose card is named; None is the current CUDA device. A device that is no CUDA device has none.
    """
    found = {"fdgpu": __version__, "python": platform.python_version()}
    for module in COMPUTING:
        found |= installed(module)
    asked = {"cuda": torch.version.cuda, "driver": driver_version()}
    if (device is None or device.type == "cuda") and quietly(torch.cuda.is_available):
        asked["card"] = card_name(device)
    return found | {name: value for name, value in asked.items() if value is not None}


def pipeline_settings(pipeline: object) -> Settings:
    """Return a diffusers pipeline's class, where it was loaded from, and the settings of its components."""
    return {
        "pipeline": type(pipeline).__name__,
        "name_or_path": getattr(pipeline, "name_or_path", None),
        **component_settings(getattr(pipeline, "components", {})),
    }


def component_settings(components: Mapping[str, object]) -> Settings:
    """Return a digest of the weights of all nets, and each scheduler's class and configuration."""
    schedulers = {
        name: {"class": type(part).__name__} | _public(part.config)
        for name, part in components.items()
        if hasattr(part, "config") and not isinstance(part, nn.Module)
    }
    return {"weights": weights_digest(components), "schedulers": schedulers}


def _public(config: Mapping[str, object]) -> Settings:
    """Leave out what diffusers keeps for itself, such as its version."""
    return {name: plain(value) for name, value in config.items() if not name.startswith("_")}


def weights_digest(components: Mapping[str, object]) -> str:
    """Hash the names, types and shapes of all parameters and buffers, and up to 64 entries spread over each.

    It is the same on every device and in every memory format. Components that are no nets are passed over.
    """
    digest = hashlib.sha256()
    tensors = {
        f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)} ": tensor
        for part, net in sorted(components.items())
        if isinstance(net, nn.Module)
        for name, tensor in chain(net.named_parameters(), net.named_buffers())
    }
    for name, entries in zip(tensors, _bytes([_spread(tensor) for tensor in tensors.values()]), strict=True):
        digest.update(name.encode())
        digest.update(entries)
    return digest.hexdigest()


def _spread(tensor: Tensor) -> Tensor:
    """Up to 64 entries of a tensor of any shape, the first and the last among them."""
    if tensor.is_meta or not tensor.numel():  # diffusers leaves meta tensors where it offloads one by one
        return torch.empty(0)
    rows = tensor.detach().reshape(tensor.shape or (1,))
    # picked by an index on each axis, as a flat view of a channels-last tensor would be a copy of it all
    flat = np.linspace(0, rows.numel() - 1, min(rows.numel(), SAMPLED), dtype=np.int64)
    return rows[tuple(torch.from_numpy(axis) for axis in np.unravel_index(flat, rows.shape))]


def plain(value: object) -> object:
    """Return what JSON holds: plain values as they are, arrays and pictures as a hash, other objects as their repr."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(own) for name, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(own) for own in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(_bytes([value])[0]).hexdigest()}"
    if hasattr(value, "__array_interface__"):  # NumPy's arrays and Pillow's pictures
        array = np.asarray(value)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an address is another in the next run


def _bytes(tensors: Sequence[Tensor]) -> list[bytes]:
    """Return what each tensor holds in memory, those of one device brought down in one copy."""
    flat = [tensor.detach().reshape(-1).contiguous().view(torch.uint8) for tensor in tensors]
    down = {
        device: to_host(torch.cat([one for one in flat if one.device == device]), "a digest of weights").tobytes()
        for device in {one.device for one in flat}
    }
    starts, found = dict.fromkeys(down, 0), []
    for one in flat:
        start = starts[one.device]
        starts[one.device] += len(one)
        found.append(down[one.device][start : starts[one.device]])
    return found
