"""JPEGs decoded on a CUDA device, many in one call, and seen there by a model, while another batch goes through it.

nvJPEG may round and spread the colours of blocks otherwise than the decoders of the host do, so that vectors need
not be those of the same files decoded on the host to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

import torch
from torch import Tensor

from fdgpu.cuda import capability_of
from fdgpu.embedding.image_file import Plain, torchcodec_decoders
from fdgpu.embedding.picture import Picture

FIRST_WITH_DECODER = (8, 0)  # of older cards, nvJPEG is no faster than the cores of the host
PIXELS_AT_ONCE = 100_000_000  # of the pictures that lie on the device in their own size
T = TypeVar("T")


@contextmanager
def device_decoder(device: torch.device | None) -> Iterator[DeviceDecoder | None]:
    """Open a decoder where JPEGs are decoded on the device: on CUDA of sm_80 or newer. Elsewhere there is none."""
    usable = device is not None and device.type == "cuda" and not isinstance(torchcodec_decoders(), str)
    if device is None or not usable or capability_of(device) < FIRST_WITH_DECODER:
        yield None
        return
    decoder = DeviceDecoder(device)
    try:
        yield decoder
    finally:
        decoder.close()


class DeviceDecoder:
    """Decodes on a device in a thread of its own, on a stream of its own: nobody else waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self._alone = ThreadPoolExecutor(1)

    def submit(self, make: Callable[[], T]) -> Future[tuple[T, torch.cuda.Event]]:
        """Have something made on the stream: in turn, with the event after which it is there."""

        def run() -> tuple[T, torch.cuda.Event]:
            with torch.cuda.stream(self.stream):
                return make(), self.stream.record_event()

        return self._alone.submit(run)

    def each(self, jpegs: Sequence[Plain], use: Callable[[int, Picture], T | None]) -> list[T | None]:
        """Return what ``use`` makes of each, by its index and its picture; None for what cannot be decoded here."""
        decoders = torchcodec_decoders()
        if isinstance(decoders, str):
            return [None] * len(jpegs)
        found: list[T | None] = []
        for some in _at_once(jpegs):
            for picture in self._decoded(some, decoders):
                found.append(None if picture is None else use(len(found), picture))
        return found

    def _decoded(self, jpegs: Sequence[Plain], decoders: ModuleType) -> list[Picture | None]:
        try:
            pixels = decoders.decode_jpeg([jpeg.encoded for jpeg in jpegs], device=self.device)
        except Exception:  # one that is broken fails the call: it is looked for by halves, and decoded on the host
            if len(jpegs) == 1:
                return [None]
            half = len(jpegs) // 2
            return self._decoded(jpegs[:half], decoders) + self._decoded(jpegs[half:], decoders)
        return [jpeg.picture(one) for jpeg, one in zip(jpegs, pixels, strict=True)]

    def close(self) -> None:
        """Let the thread end."""
        self._alone.shutdown()


def _at_once(jpegs: Sequence[Plain]) -> list[list[Plain]]:
    """Cut into parts whose pictures lie on the device together."""
    parts: list[list[Plain]] = []
    room = 0
    for jpeg in jpegs:
        width, height = jpeg.size
        if width * height > room:
            parts.append([])
            room = PIXELS_AT_ONCE
        parts[-1].append(jpeg)
        room -= width * height
    return parts


def handed_over(tensors: Sequence[Tensor], ready: torch.cuda.Event) -> None:
    """Let the current stream of a device use what another has made: the device waits for it, the host does not."""
    for tensor in tensors:
        if tensor.is_cuda:  # nothing of a batch may have been readable
            current = torch.cuda.current_stream(tensor.device)
            current.wait_event(ready)
            tensor.record_stream(current)
