"""Files that are read are files; those that are written appear whole or not at all, so that nothing is half-written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdgpu.errors import InputError


def open_regular(path: Path, what: str) -> BinaryIO:
    """Open a file to read; a pipe would wait for its writer, and a device may have no end.

    Args:
        path: of the file.
        what: it should be, for the message.

    Raises:
        InputError: if it cannot be read, or is no file.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): pass {what}") from None
    except ValueError as error:  # a null character in its name
        raise InputError(f"{str(path)!r} cannot be read ({error}): pass {what}") from None
    raise InputError(f"{path} is no file but a folder, a pipe or a device: pass {what}")


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write to a neighbour and rename.

    Raises:
        InputError: if the folder cannot be written.
    """
    with written_atomically(path) as stream:
        stream.write(data.encode("utf-8") if isinstance(data, str) else data)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture (height, width, 3) atomically, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    write_atomically(path, stream.getvalue())


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a neighbour to write to; it becomes ``path`` when the block ends, and is gone if the block fails.

    Raises:
        InputError: if the folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InputError(f"{path} cannot be written ({error.strerror}): choose a folder you may write to") from None


def writable_folder(path: Path) -> Path:
    """Make ``path`` a folder and prove that it can be written.

    Raises:
        InputError: if it is a file, or may not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another output folder") from None
    return path
