"""Whether a data set's files are there; an error says which is missing, and where to get it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from fdgpu.errors import InputError


def own_folder(folder: Path, names: Sequence[str], content: Sequence[str]) -> Path | None:
    """Return a data set's own folder: the one that was given, or one in it; None where neither is to be found.

    Args:
        folder: what was given.
        names: of the data set's own folder, as its archives unpack, in the order in which they are looked for.
        content: patterns of what lies in it and in no other data set's.
    """
    if any(any(folder.glob(pattern)) for pattern in content):
        return folder
    for name in names:
        if (folder / name).is_dir():
            return folder / name
    return folder if folder.name in {Path(name).name for name in names} else None


def need_file(data_set: str, *paths: Path) -> Path:
    """Return the first of several paths that is a file.

    Raises:
        InputError: if none is.
    """
    return _first(data_set, paths, Path.is_file, "file")


def need_folder(data_set: str, *paths: Path) -> Path:
    """Return the first of several paths that is a folder.

    Raises:
        InputError: if none is.
    """
    return _first(data_set, paths, Path.is_dir, "folder")


def _first(data_set: str, paths: Sequence[Path], fits: Callable[[Path], bool], kind: str) -> Path:
    for path in paths:
        if fits(path):
            return path
    for path in paths:
        if path.exists():
            raise InputError(f"{path} is there, but is no {kind}: {get_it(data_set)}")
    names = " or ".join(str(path) for path in paths)
    raise InputError(f"{names} is missing: {get_it(data_set)}")


def need_images(listed: Mapping[str, int], folders: Iterable[Path], listing: Path, data_set: str) -> dict[str, Path]:
    """Return the path of every image that a listing names.

    Args:
        listed: file name → the line of the listing that names it.
        folders: where images may be; each is read once, since a look at every file takes long where there are many.
        listing: the file that names them.
        data_set: of ``sources.toml``.

    Raises:
        InputError: if some are missing; names the first of them, its line, and how many there are.
    """
    searched = list(folders)
    there = {path.name: path for folder in searched for path in folder.iterdir()}
    absent = [name for name in listed if name not in there]
    if absent:
        looked_in = " or ".join(str(folder) for folder in searched)
        raise InputError(
            f"{absent[0]} is missing from {looked_in}, {listing}, line {listed[absent[0]]}, names it; "
            f"{len(absent)} of {len(listed)} images are missing: {get_it(data_set)}"
        )
    return {name: there[name] for name in listed}


def get_it(data_set: str) -> str:
    """Return where a data set is to be had, as the last words of an error."""
    return f"get it from {_sources()[data_set]}"


@cache
def _sources() -> dict[str, str]:
    return tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8"))
