"""A folder is one run's or another's, never a mix.

All of a run's files are written into a folder beside the one that it replaces, and the two are exchanged in one system
call. A folder in the making is locked by its process; the kernel lets go of a lock however a process ends, so that the
next run knows what a killed one left behind, and clears it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fdgpu.checks import shown
from fdgpu.errors import InputError
from fdgpu.files import UNFINISHED, locked, parse_json, unwritable

PAGE = "report.html"  # of a folder that cannot be exchanged, it goes first and comes last: where it is, the rest is too
LISTINGS = ("audit.json", "truth.json")  # each names in "files" what was written with it
EXCHANGED = ".old"  # ends the name of a folder that is exchanged: a user's files may be in it
WITHIN = "fdgpu-within"  # the name under which a folder in the making lies in the one that it fills


@dataclass(frozen=True)
class StagedFolder:
    """A folder in the making: ``path`` is where to write, ``out`` where all of it will be."""

    path: Path
    out: Path


@contextmanager
def replaced_folder(out: str | Path | StagedFolder, reads: Iterable[str | Path] = ()) -> Iterator[StagedFolder]:
    """Yield an empty folder, which takes the place of ``out`` when the block ends; ``out`` stays if the block fails.

    What earlier runs wrote into ``out``, by the :data:`LISTINGS` that lie in it, is replaced. Everything else is kept,
    and so is what belongs to a listing of which this run reads a file. At any moment ``out`` is the old folder or the
    new one.

    A folder that must stay itself (the current one, a mount, another user's, one in a folder that may not be written)
    cannot be exchanged: the new files are made in a hidden folder within, the old ones are removed, and the new ones
    renamed. A run that is killed there leaves a part of one run, never of two.

    Args:
        out: the folder, made with its parents where it is missing; or one in the making, of a larger job.
        reads: files that this run reads.

    Raises:
        InputError: if ``out`` is a file, or cannot be written.
    """
    if isinstance(out, StagedFolder):
        yield out
        return
    folder, made = Path(os.path.realpath(out)), list[Path]()
    with ExitStack() as held:
        try:
            try:
                made += [parent for parent in folder.parents if not parent.exists()]
                part = _staging(folder, held)
            except OSError as error:
                raise unwritable(Path(out), error) from None
            held.callback(shutil.rmtree, part, ignore_errors=True)
            yield StagedFolder(part, Path(out))
            try:
                _put_in_place(part, folder, reads)
            except OSError as error:
                raise unwritable(Path(out), error) from None
        except BaseException:
            held.close()
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()
            raise


def check_folder(out: str | Path, needed: int = 0) -> None:
    """Check what can be known of an output folder, which need not exist yet, before the work is done.

    Args:
        out: its path.
        needed: bytes that will be written at least.

    Raises:
        InputError: for no path, a file, a folder that may not be written, or too little room on its file system.
    """
    try:
        if not os.fspath(out):
            raise ValueError
        folder = Path(os.path.realpath(out))
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise unwritable(Path(out), error) from None
    except (TypeError, ValueError):
        raise InputError(f"out is {shown(out)}: pass the path of a folder") from None
    if free < needed:
        raise InputError(
            f"out is {out}, where {free / 1e6:.1f} MB are free, and about {needed / 1e6:.1f} MB will be written: make "
            "room, or choose another folder"
        )


def _staging(folder: Path, held: ExitStack) -> Path:
    """Make a folder to write to, beside ``folder`` where the two can be exchanged, else within it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):  # of a folder that may not be listed
        _clear_leftovers(folder.parent, folder.name, folder)
    if not folder.exists():
        return _new_part(folder.parent, folder.name, held)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    _clear_leftovers(folder, WITHIN, folder)
    if _may_move(folder):
        with suppress(OSError):  # the parent may not be written
            part = _new_part(folder.parent, folder.name, held)
            if _one_mount(part, folder):
                return part
            part.rmdir()
    return _new_part(folder, WITHIN, held)


def _new_part(place: Path, name: str, held: ExitStack) -> Path:
    part = place / f".{name}.{secrets.token_hex(4)}{UNFINISHED}"
    part.mkdir()
    held.enter_context(locked(part))
    return part


def _may_move(folder: Path) -> bool:
    """Whether a folder may be exchanged: it is ours, not where we stand, no mount is in it and no run works in it."""
    own = folder.stat()
    with suppress(FileNotFoundError):  # where we stand may be gone
        here = Path(os.path.realpath("."))
        if folder == here or folder in here.parents:
            return False
    with os.scandir(folder) as entries:
        apart = any(one.stat(follow_symlinks=False).st_dev != own.st_dev or _is_part(one.name) for one in entries)
    return own.st_uid == os.geteuid() and not apart


def _is_part(name: str, of: str = WITHIN) -> bool:
    return re.fullmatch(rf"\.{re.escape(of)}\.[0-9a-f]{{8}}({UNFINISHED}|{EXCHANGED})", name) is not None


def _one_mount(one: Path, other: Path) -> bool:
    """Whether files can be renamed from one folder to the other; asked about a file that neither has."""
    name = secrets.token_hex(8)
    try:
        (one / name).rename(other / name)
    except OSError as error:
        return error.errno == errno.ENOENT
    return True


def _put_in_place(part: Path, folder: Path, reads: Iterable[str | Path]) -> None:
    if not folder.exists() and _renamed(part, folder):
        return
    with locked(folder):  # of two runs, one goes after the other
        ours = listed_files(folder, reads)
        if part.parent == folder:
            _fill(part, folder, ours)
        else:
            _exchange(part, folder, ours)


def _exchange(part: Path, folder: Path, ours: Set[str]) -> None:
    """Let ``part`` become ``folder``, with what in that is not ours."""
    _bring_over(folder, part, ours, _link)
    shutil.copystat(folder, part)
    os.utime(part)
    if _renamed(part, folder):
        return
    old = part.with_suffix(EXCHANGED)
    part.rename(old)
    if not _exchanged_at_once(old, folder):
        old.rename(part)
        try:
            folder.rename(old)  # killed here, the next run gives the folder its name back
        except OSError:  # as overlays refuse it of a folder in a lower layer
            _fill(part, folder, ours)
            return
        try:
            part.rename(folder)
        except OSError:
            old.rename(folder)
            raise
    _bring_over(old, folder, ours, Path.rename)  # what has no links, or came in between
    old.rename(part)


def _renamed(part: Path, folder: Path) -> bool:
    """Rename one folder to another that is missing or empty; False where that has files."""
    try:
        part.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _exchanged_at_once(one: Path, other: Path) -> bool:
    """Exchange two folders in one system call; False where the system or the file system has none."""
    libc, names = ctypes.CDLL(None), (os.fsencode(one), os.fsencode(other))
    try:
        if sys.platform == "darwin":
            return int(libc.renamex_np(*names, 2)) == 0  # RENAME_SWAP
        here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        return int(libc.renameat2(here, names[0], here, names[1], exchange)) == 0
    except AttributeError:
        return False


def _fill(part: Path, folder: Path, ours: Set[str]) -> None:
    """Replace our files in a folder that stays: a listing is there for as long as any file of its own is."""
    new = {file.relative_to(part).as_posix() for file in part.rglob("*") if not _is_folder(file)}
    new = {name for name in new if not _same_file(part / name, folder / name)}  # linked, and so not ours
    for name in (PAGE, *sorted((ours | new) - {PAGE, *LISTINGS}), *LISTINGS):
        if name in ours or name in new:
            _remove_file(folder, name)
    first, last = new & {*LISTINGS}, new & {PAGE}
    for name in (*sorted(first), *sorted(new - first - last), *last):
        for parent in reversed(Path(name).parents[:-1]):
            _make_way(folder / parent, is_folder=True)
        _make_way(folder / name, is_folder=False)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).replace(folder / name)


def _remove_file(folder: Path, name: str) -> None:
    """Remove a file, unless it is gone, and the folders that are empty without it."""
    with suppress(OSError):
        (folder / name).unlink()
    with suppress(OSError):
        for parent in Path(name).parents[:-1]:
            (folder / parent).rmdir()


def _make_way(path: Path, *, is_folder: bool) -> None:
    """Set aside a file where a folder is to be, or a folder where a file is to be."""
    if os.path.lexists(path) and is_folder != _is_folder(path):
        path.rename(f"{path}~")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _same_file(one: Path, other: Path) -> bool:
    return os.path.lexists(other) and os.path.samestat(one.lstat(), other.lstat())


def listed_files(folder: Path, reads: Iterable[str | Path] = ()) -> set[str]:
    """Return what earlier runs wrote into a folder, but for listings of which this run reads a file."""
    found: set[str] = set()
    for listing in LISTINGS:
        try:
            if (folder / listing).is_file():
                names = set(parse_json((folder / listing).read_bytes())["files"])
                if listing in names and not _reads_any(reads, names, folder):
                    found |= names
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not ours, or damaged: what it lists is kept
    return found


def _reads_any(reads: Iterable[str | Path], names: Set[str], folder: Path) -> bool:
    within: dict[str, str] = {}  # folder of a file → the same from ``folder``, as names begin
    for path in reads:
        parent, name = os.path.split(path)
        if parent not in within:
            below = os.path.relpath(os.path.realpath(parent), folder)
            within[parent] = "" if below == os.curdir else below + os.sep
        if within[parent] + name in names:
            return True
    return False


def _bring_over(old: Path, new: Path, ours: Set[str], move: Callable[[Path, Path], object], below: str = "") -> None:
    """Move what is not ours from one folder to another, but for files whose names are taken there."""
    for entry in sorted(old.iterdir()):
        name, target, is_folder = below + entry.name, new / entry.name, _is_folder(entry)
        if os.path.lexists(target) and is_folder != _is_folder(target):
            target = new / f"{entry.name}~"
        if not is_folder:
            if name not in ours and not os.path.lexists(target):
                move(entry, target)
        elif _holds_others(entry, ours, name + os.sep):
            made = not target.exists()
            target.mkdir(exist_ok=True)
            _bring_over(entry, target, ours, move, name + os.sep)
            if made:
                shutil.copystat(entry, target)


def _holds_others(folder: Path, ours: Set[str], below: str) -> bool:
    """Whether anything in a folder is not ours; an empty folder is one of ours or not."""
    entries = list(folder.iterdir())
    if not entries:
        return not any(name.startswith(below) for name in ours)
    return any(
        _holds_others(entry, ours, below + entry.name + os.sep) if _is_folder(entry) else below + entry.name not in ours
        for entry in entries
    )


def _link(source: Path, target: Path) -> None:
    with suppress(OSError):  # it is moved once the folders are exchanged
        os.link(source, target, follow_symlinks=False)


def _clear_leftovers(place: Path, name: str, folder: Path) -> None:
    """Remove what killed runs left of ``folder``; what is not ours goes back to it."""
    for path in [one for one in sorted(place.iterdir()) if _is_part(one.name, name)]:
        with suppress(OSError):  # what cannot be cleared, or is another run's, stays
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _clear_leftover(path, folder)
            finally:
                os.close(descriptor)


def _clear_leftover(path: Path, folder: Path) -> None:
    if path.suffix == EXCHANGED:
        if not folder.exists():
            path.rename(folder)
            return
        _bring_over(path, folder, listed_files(path), Path.rename)
        path = path.rename(path.with_suffix(UNFINISHED))
    shutil.rmtree(path, ignore_errors=True)
