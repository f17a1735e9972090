"""Files appear whole or not at all, so that a run that is interrupted leaves nothing half-written."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdgpu.errors import InputError

UNFINISHED = ".part"  # ends the name of what is being written


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write to a neighbour and rename.

    Raises:
        InputError: if the folder cannot be written.
    """
    with written_atomically(path) as stream:
        stream.write(data.encode("utf-8") if isinstance(data, str) else data)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture (height, width, 3) atomically, in a folder that is made where it is missing."""
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    write_atomically(path, stream.getvalue())


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a neighbour to write to; it becomes ``path`` when the block ends, and is gone if the block fails.

    The neighbour's name is always the same: what a killed process left of it is written over.

    Raises:
        InputError: if the folder cannot be written.
    """
    part = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        with locked(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW):
            try:
                with part.open("wb") as stream:
                    yield stream
                part.replace(path)
            except BaseException:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise unwritable(path, error) from None


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
        raise unwritable(path, error) from None
    return path


@contextmanager
def locked(path: Path, flags: int = os.O_RDONLY) -> Iterator[None]:
    """Hold the lock of what is at a path, of which a run may just have put another there."""
    while True:
        descriptor = os.open(path, flags, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        with suppress(OSError):  # explicitly, since a forked process may hold the descriptor too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error to raise; a folder in the making is named as the one that it becomes."""
    where = re.sub(rf"/\.([^/]+)\.[0-9a-f]{{8}}\{UNFINISHED}(?=/|$)", r"/\1", str(path))
    return InputError(
        f"{where} cannot be written ({error.strerror}): choose a folder that may be written and has room enough"
    )
