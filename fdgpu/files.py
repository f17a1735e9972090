"""Files are written whole or not at all, and a user's are read up to a bound: no pipe hangs, no device fills memory."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ValidationError
from safetensors.numpy import save as to_bytes

from fdgpu.checks import shown
from fdgpu.errors import InputError

Document = TypeVar("Document", bound=BaseModel)
UNFINISHED = ".part"  # ends the name of what is being written

# --- reading --------------------------------------------------------------------------------------------------------


def check_regular_file(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path of a regular file; nothing is opened, so that a pipe without a writer cannot hang.

    Args:
        path: of the file.
        what: it should be, for the error message, such as ``"the CSV of predictions"``.

    Raises:
        InputError: for a path that is none, a file that is not there, a folder, a pipe, a socket or a device.
    """
    try:
        path = Path(path)
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{_named(path)} cannot be read, it does not exist: pass {what}") from None
    except (OSError, ValueError, TypeError) as error:  # ValueError: a character that no path may hold
        reason = error.strerror if isinstance(error, OSError) else f"a path is text without {error}"
        reason = "it is no path" if isinstance(error, TypeError) else reason
        raise InputError(f"{_named(path)} cannot be read ({reason}): pass {what}") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise InputError(f"{_named(path)} is {kind}, no regular file: pass {what}")
    return path


@contextmanager
def opened(path: str | os.PathLike[str], what: str) -> Iterator[BinaryIO]:
    """Open a regular file to read.

    Raises:
        InputError: as :func:`check_regular_file`, or if it may not be read.
    """
    path = check_regular_file(path, what)
    try:
        # non-blocking: what was a file a moment ago may be a pipe now
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        stream = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise InputError(f"{_named(path)} cannot be read ({error.strerror}): pass {what}") from None
    with stream:
        yield stream


def read_file(path: str | os.PathLike[str], most_bytes: int, what: str) -> bytes:
    """Return a regular file's content.

    Args:
        path: of the file.
        most_bytes: a larger file is refused, before more than that is read.
        what: it should be, for the error message.

    Raises:
        InputError: as :func:`check_regular_file`, or if the file is larger or cannot be read.
    """
    with opened(path, what) as stream:
        content = stream.read(most_bytes + 1)
    if content is None or len(content) > most_bytes:
        raise InputError(f"{_named(path)} is larger than {most_bytes:,} bytes: pass {what}")
    return content


def read_text_file(path: str | os.PathLike[str], most_bytes: int, what: str) -> str:
    """Return a regular file's text, which is UTF-8, with a byte order mark or without; see :func:`read_file`.

    Raises:
        InputError: as :func:`read_file`, or if the content is not UTF-8; says at which byte.
    """
    content = read_file(path, most_bytes, what)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{_named(path)} is not UTF-8 text (byte {error.start}: {error.reason}): save it as UTF-8, and pass {what}"
        ) from None


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says, as a file of ours has it: no key twice, no number that Python does not read.

    Raises:
        ValueError: if it says nothing else, or is nested deeper than Python goes; says where, not in which file.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None


def strict_json(document: object) -> str:
    """Return plain data as JSON that people read; what is no number becomes null.

    >>> print(strict_json({"a": [1.5, float("nan")]}), end="")
    {
     "a": [
      1.5,
      null
     ]
    }
    """
    return json.dumps(without_nan(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def without_nan(value: object) -> object:
    """Return plain data with None in the place of what is no finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(entry) for entry in value]
    return value


def validated(model: type[Document], raw: object) -> Document:
    """Return what a file says, by its schema.

    Raises:
        ValueError: for anything else; says where, what came and what was expected.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the document"
    came = "is missing" if first["type"] == "missing" else f"is {shown(first['input'])}"
    raise ValueError(f"{where} {came}: {first['msg'][:1].lower()}{first['msg'][1:]}")


def expect(holds: bool, what: str) -> None:
    """Raise a ValueError that says what was expected of a file of ours, unless that ``holds``."""
    if not holds:
        raise ValueError(f"expected {what}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"its JSON has a key twice, {shown(next(key for key in keys if keys.count(key) > 1))}")
    return table


def _named(path: object) -> str:
    """Return a path as errors name it: as it is where it is printable text."""
    text = str(path) if isinstance(path, (str, os.PathLike)) else ""
    return text if text and text.isprintable() else shown(str(path) if text else path)


# --- writing --------------------------------------------------------------------------------------------------------


def write_atomically(path: Path, data: bytes | str, lasting: bool = False) -> None:
    """Write to a neighbour and rename; see :func:`written_atomically`.

    Raises:
        InputError: if the folder cannot be written.
    """
    with written_atomically(path, lasting) as stream:
        # half of a surrogate pair, which UTF-8 does not know, is written as JSON and Python escape it
        stream.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def write_safetensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> None:
    """Write arrays as tensors, as :func:`write_atomically` does.

    safetensors takes the memory of an array as it lies: one that is not contiguous, such as weights in the order of
    channels, it would write in another order without a word.
    """
    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # keeps a number a number
    write_atomically(path, to_bytes(whole, metadata=metadata))


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
def written_atomically(path: Path, lasting: bool = False) -> Iterator[BinaryIO]:
    """Open a neighbour to write to; it becomes ``path`` when the block ends, and is gone if the block fails.

    The neighbour's name is always the same: what a killed process left of it is written over. What is ``lasting`` is on
    the disk itself before it gets its name, so that it is whole after the power failed, too.

    Raises:
        InputError: if the folder cannot be written.
    """
    part = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        with locked(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW):
            try:
                with part.open("wb") as stream:
                    yield stream
                    if lasting:
                        stream.flush()
                        os.fsync(stream.fileno())
                part.replace(path)
                if lasting:
                    _keep_name(path.parent)
            except BaseException:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise unwritable(path, error) from None


def _keep_name(folder: Path) -> None:
    """Bring the names that a folder has to the disk, where its file system can be told to."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
