"""The idx format of MNIST: two zero bytes, a type, the number of dimensions, their sizes, and the values."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.paper.files.malformed import bad_file

UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> Tensor:
    """Read unsigned bytes, of a plain file or a gzipped one.

    Raises:
        InputError: if the file holds anything else, or fewer or more bytes than it says.
    """
    data = _bytes(path)
    begin = 4 * (1 + dimensions)
    if data[:4] != bytes([0, 0, UNSIGNED_BYTE, dimensions]) or len(data) < begin:
        raise bad_file(path, f"an idx file of unsigned bytes in {dimensions} dimensions", f"0x{data[:4].hex()}")
    shape = tuple(np.frombuffer(data[4:begin], ">u4").tolist())
    if len(data) - begin != math.prod(shape):
        raise bad_file(path, f"{math.prod(shape)} bytes of {shape} after its header", str(len(data) - begin))
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=begin).reshape(shape).copy())


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise bad_file(path, "a gzipped file", str(error)) from error
