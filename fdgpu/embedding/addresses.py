"""Addresses that ``fsspec`` opens, patterns of several, and the images that lie behind them or in a zip file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any, TypeVar
from zipfile import is_zipfile

from fdgpu.embedding.image_file import suffixes
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.sources import IndexedSource, printable
from fdgpu.errors import InputError, one_line
from fdgpu.files import check_regular_file

T = TypeVar("T")


class MemberSource(IndexedSource):
    """Images of which each is read by its name.

    Args:
        ids: of the images.
        read: what returns the bytes of a name.
        names: by which they are read; None where these are the ids.
    """

    def __init__(self, ids: Sequence[str], read: Callable[[str], bytes], names: Sequence[str] | None = None) -> None:
        self.ids, self.names, self.read = [printable(own) for own in ids], names or ids, read

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, row: int) -> Sample:
        """Return one image, which a thread will read."""
        return Sample(self.ids[row], partial(self.read, self.names[row]))


def expanded(pattern: str) -> list[str]:
    """Return what a pattern names: ``{000..003}`` and ``{a,b}`` are written out, ``*`` is looked for on disk."""
    if Path(pattern).exists():
        return [pattern]
    braced = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if braced:
        first, last, listed = braced.groups()
        inner = listed.split(",") if listed else [f"{i:0{len(first)}}" for i in range(int(first), int(last) + 1)]
        return [one for own in inner for one in expanded(pattern[: braced.start()] + own + pattern[braced.end() :])]
    if "://" in pattern or not has_magic(pattern):
        return [pattern]
    found = sorted(glob(pattern))  # noqa: PTH207 - a pattern may be absolute
    if not found:
        raise InputError(f"no file is called {pattern}: correct the pattern, or the folder that it starts from")
    return found


def read_address(address: str) -> bytes:
    """Return what lies at an address."""
    files, path = opened_address(address)
    return bytes(files.cat_file(path))


def opened_address(address: str) -> tuple[Any, str]:
    """Return fsspec's file system and the path in it.

    Raises:
        InputError: for an address whose protocol or library is not there, or that does not answer.
    """
    from fsspec.core import url_to_fs  # torch brings it

    settings = {protocol: _patience() for protocol in ("http", "https") if f"{protocol}://" in address}
    files, path = asked(address, lambda: url_to_fs(address, **settings))
    return files, str(path)


def _patience() -> dict[str, Any]:
    """Return how long an address of the web is waited for, and that the environment's proxies serve it."""
    try:
        from aiohttp import ClientTimeout
    except ImportError:  # fsspec says what is lacking
        return {}
    return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=10, sock_read=60), "trust_env": True}}


def asked(address: str, ask: Callable[[], T]) -> T:
    """Ask a file system, whose library may raise anything."""
    try:
        return ask()
    except ImportError as error:
        raise InputError(f"{address} needs a library that is not installed, see: {one_line(error)}") from None
    except Exception as error:  # of a protocol's library, each of which has its own
        reason = error.__cause__ or error  # HTTP's says of any other that there is no such file
        if isinstance(reason, FileNotFoundError):
            raise InputError(f"{address} does not exist: correct the address") from None
        raise InputError(
            f"{address} does not answer ({one_line(reason)}): correct the address, look whether it can be reached from "
            "here and with which account, or download the images and pass their folder"
        ) from None


def images_behind(address: str) -> MemberSource:
    """Images below an address, or the one that lies there."""
    files, root = opened_address(address)
    found = sorted(asked(address, lambda: files.find(root)))
    names = [name for name in found if name.lower().endswith(known_suffixes())]
    if not names:
        asked(address, lambda: files.info(root))  # a listing may be empty since nothing answers
        raise InputError(f"{address} holds no image, by the suffixes of its {len(found):,} files: is it the right one?")
    start = (root.rpartition("/")[0] if found == [root] else root.rstrip("/")) + "/"
    return MemberSource([name.removeprefix(start) for name in names], files.cat_file, names)


def images_in_zip(address: str) -> MemberSource:
    """Images in a zip file."""
    if "://" not in address and not is_zipfile(check_regular_file(address, "a zip file of images")):
        raise InputError(f"{address} is no zip file, or was cut off: copy or download it again")
    return images_behind(f"zip://::{address}")


@cache  # asked for each of millions of names
def known_suffixes() -> tuple[str, ...]:
    """Return the suffixes of images."""
    return tuple(suffixes())
