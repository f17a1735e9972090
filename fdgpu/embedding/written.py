"""The batch of each view, written by many threads: each puts its image where it belongs, and nothing is stacked."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from fdgpu.arrays import empty_on_host
from fdgpu.errors import InputError


class Written:
    """Memory for ``n`` images in each of some views, on the host; pinned where CUDA runs.

    The first image says how large, of what type and in what order a view is. What does not fit, because it is of
    another type, lies on a device or has no place, stays as it is, and the view is stacked in the end.
    """

    def __init__(self, n: int, views: int) -> None:
        self.n, self.views = n, views
        self._batches: list[Tensor | None] = [None] * views
        self._fits = [True] * views
        self._first = threading.Lock()

    def put(self, row: int, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Write an image's views (c, h, w) into its row, and return them where they are then."""
        return tuple(self._put(number, row, view) for number, view in enumerate(views))

    def _put(self, number: int, row: int, view: Tensor) -> Tensor:
        with self._first:
            if self._batches[number] is None and view.device.type == "cpu":
                self._batches[number] = _memory(self.n, view)
        batch = self._batches[number]
        if batch is None or (batch.shape[1:], batch.dtype, batch.device) != (view.shape, view.dtype, view.device):
            self._fits[number] = False
            return view
        return batch[row].copy_(view)

    def whole(self, number: int, rows: Sequence[int], views: Sequence[Tensor]) -> Tensor:
        """Return one view (m, c, h, w) of the images at ``rows``, of which ``put`` returned ``views``."""
        batch = self._batches[number]
        if batch is None or not self._fits[number]:
            return stacked(views)
        return batch if len(rows) == self.n else batch[torch.tensor(rows, dtype=torch.long)]


def stacked(pictures: Sequence[Tensor]) -> Tensor:
    """Write pictures (c, h, w) of one device into one batch; of different types, they become floats."""
    if not pictures:
        return torch.empty(0, 3, 1, 1, dtype=torch.uint8)
    first = pictures[0]
    for one in pictures:
        if one.device != first.device:
            raise InputError(f"images lie on {first.device} and on {one.device}: pass them on one device")
        if one.shape != first.shape:
            raise InputError(
                f"the transform gives images of different shapes, {tuple(first.shape)} and {tuple(one.shape)}: let it "
                "resize or crop all to one"
            )
    if len({one.dtype for one in pictures}) > 1:
        pictures = [one / 255 if one.dtype == torch.uint8 else one.float() for one in pictures]
    batch = _memory(len(pictures), pictures[0])
    for row, one in enumerate(pictures):
        batch[row] = one
    return batch


def _memory(n: int, picture: Tensor) -> Tensor:
    """Return memory for n pictures of the size, type and order of one, on its device."""
    if picture.device.type != "cpu":
        return torch.empty((n, *picture.shape), dtype=picture.dtype, device=picture.device)
    channels, height, width = picture.shape
    if picture.stride(0) == 1 and channels > 1:  # as decoders give pixels: a copy is a row at a time
        return empty_on_host((n, height, width, channels), picture.dtype).movedim(-1, 1)
    return empty_on_host((n, channels, height, width), picture.dtype)
