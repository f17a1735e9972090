"""CIFAR's batches in the python version, which is pickled: what is read is plain values and arrays of bytes or int64.

No class of NumPy's takes part: an array's type and numbers come as plain values, are checked, and only then become an
array. What a file may name are stand-ins, which have no attribute that a file could set. The unpickler is the one in
Python, whose memory grows with the file and not with what the file says.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Callable
from io import BytesIO
from math import prod
from pathlib import Path
from struct import error as StructError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper.files.malformed import bad_file
from fdgpu.errors import FdgpuWarning
from fdgpu.files import read_file

MOST_BYTES = 200_000_000  # CIFAR-100's training images are 155 MB
WHOLE = 30_000_000  # bytes of a batch of 10 000 images: a smaller file is not the published one
KINDS: dict[str, np.dtype[Any]] = {"u1": np.dtype("u1"), "i8": np.dtype("<i8")}
DAMAGED = (
    pickle.UnpicklingError, StructError, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError,
    MemoryError, NotImplementedError, RecursionError, TypeError, ValueError,
)  # fmt: skip  # what the unpickler raises of damaged files


class _Named:
    """What a file may name: it can be called, and nothing else."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *arguments: object) -> object:
        return self._make(*arguments)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for what has none")


class _Kind:
    """The type of an array, bytes or int64; its state has to be the one of a plain type in a fixed byte order."""

    __slots__ = ("dtype",)

    def __init__(self, name: object, *_copied: object) -> None:
        if not isinstance(name, str) or name not in KINDS:
            raise pickle.UnpicklingError(f"an array of type {str(name)[:20]!r}, which no batch needs")
        self.dtype = KINDS[name]

    def __setstate__(self, state: object) -> None:
        plain = (3, "|" if self.dtype.itemsize == 1 else "<", None, None, None, -1, -1, 0)
        if state != plain:
            raise pickle.UnpicklingError("a type of arrays with a state of its own, which no batch needs")


class _Array:
    """An array, whose numbers come as its state."""

    __slots__ = ("numbers",)

    def __init__(self, *_empty: object) -> None:
        self.numbers: NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array without its five parts")
        version, shape, kind, by_column, content = state
        sizes = isinstance(shape, tuple) and len(shape) <= 2 and all(type(size) is int and size >= 0 for size in shape)
        if version != 1 or not sizes or not isinstance(kind, _Kind) or by_column not in (False, 0):
            raise pickle.UnpicklingError("an array of another layout than a batch's")
        data = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(data, bytes) or len(data) != prod(shape) * kind.dtype.itemsize:
            raise pickle.UnpicklingError(f"an array whose content is not of its shape {shape}")
        self.numbers = np.frombuffer(data, kind.dtype).reshape(shape)


def _bytes(text: str, encoding: str) -> bytes:
    """Make bytes as protocol 2 of Python 3 spells them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("bytes of another encoding, which no batch needs")
    return text.encode("latin1")


ARRAY, KIND = _Named(_Array), _Named(_Kind)
KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): ARRAY,
    ("numpy", "ndarray"): ARRAY,  # an argument of the other, never called
    ("numpy", "dtype"): KIND,
    ("_codecs", "encode"): _Named(_bytes),
}


class Arrays(pickle._Unpickler):
    """Lists, dictionaries, text, numbers and arrays; anything else that a file names is refused and never imported."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few that are known.

        Raises:
            UnpicklingError: for anything else.
        """
        try:
            return KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}, which no batch needs") from None


def read_pickled(path: Path) -> dict[str, Any]:
    """Read one batch, or the names of the classes.

    Raises:
        InputError: if it is no dictionary of arrays and lists.
    """
    content = read_file(path, MOST_BYTES, "a batch of CIFAR's python version")
    if len(content) >= WHOLE:
        _compare_with_the_published(path, content)
    try:
        read = Arrays(BytesIO(content), encoding="latin1").load()
    except DAMAGED as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise bad_file(path, "a batch of CIFAR's python version", what) from None
    if not isinstance(read, dict):
        raise bad_file(path, "a dictionary", type(read).__name__)
    named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in read.items()}
    return {key: value.numbers if isinstance(value, _Array) else value for key, value in named.items()}


def _compare_with_the_published(path: Path, content: bytes) -> None:
    """Warn of a file that has the size and the name of a published one, and other content."""
    from torchvision.datasets import CIFAR10, CIFAR100  # which know the sums

    known = {name: sum_ for data in (CIFAR10, CIFAR100) for name, sum_ in (*data.train_list, *data.test_list)}
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if known.get(path.name, found) != found:
        warnings.warn(
            f"{path} is not the file that was published (MD5 {found}, not {known[path.name]}): get it again, unless "
            "you changed it",
            FdgpuWarning,
            stacklevel=3,
        )
