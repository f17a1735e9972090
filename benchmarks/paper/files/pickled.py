"""CIFAR's batches in the python version, which is pickled: the unpickler knows arrays and plain values, and no more."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.files.malformed import bad_file


def _dtype(name: str, align: int, copy: int) -> np.dtype[Any]:
    """Make a type as numpy wrote it long ago, with numbers where it now wants truth values."""
    return np.dtype(name, bool(align), bool(copy))


def _bytes(text: str, encoding: str) -> bytes:
    """Make bytes as protocol 2 of Python 3 spells them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}, which no batch needs")
    return text.encode("latin1")


RECONSTRUCT: Any = np.empty(0).__reduce__()[0]  # numpy's own, whose module has moved between versions
KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _bytes,
}


class Arrays(pickle.Unpickler):
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
    with path.open("rb") as stream:
        try:
            content = Arrays(stream, encoding="latin1").load()
        except Exception as error:  # a damaged pickle may raise any error
            raise bad_file(path, "a batch of CIFAR's python version", f"{type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise bad_file(path, "a dictionary", type(content).__name__)
    return {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
