"""Archives and addresses: tar shards of WebDataset and others, zip files, and what ``fsspec`` opens.

A tar is read from its beginning to its end, so that it may come from an address and be compressed; of one on disk only
the headers are walked through, and threads read the images. Members of one key, which is the name up to the first dot
after the last slash, are one sample; they follow each other, as WebDataset writes them.
"""

from __future__ import annotations

import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from glob import glob, has_magic
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar
from zipfile import is_zipfile

from PIL import Image

from fdgpu.arrays import is_array
from fdgpu.checks import shown
from fdgpu.embedding.image_file import suffixes
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.sources import ImageSource, IndexedSource, Names, OnlySource, printable, stamp_of_file
from fdgpu.errors import InputError, one_line
from fdgpu.files import check_regular_file

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LABELS = ("cls", "json", "txt")  # members that hold a label: the first that a key has
NAMED = ("label", "class", "target", "cls")  # the entry of a .json that is the label
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")  # how gzip, bzip2 and xz begin
END = bytes(2 * tarfile.BLOCKSIZE)  # of a whole tar
BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)

Read = Callable[[], bytes]
T = TypeVar("T")


def archive_source(
    address: str | Path | Sequence[str | Path], *, image: str | None = None, label: str | None = None
) -> ImageSource:
    """Make a source of archives, or of addresses that fsspec opens.

    Args:
        address: of tar shards or of one zip file, or an address of a folder (``"s3://bucket/photos"``), or a list of
            addresses of images. ``"shards-{000..003}.tar"`` and ``"shards-*.tar"`` name several.
        image: of shards, the member of a key that is its image, such as ``"jpg"``; None where each has one.
        label: of shards, the member that is its label; None takes the first of ``.cls``, ``.json`` (its entry "label",
            "class", "target" or "cls") and ``.txt``.

    Ids are the paths in the archive, or from the folder on. The second of two alike ends in its position: ``a.jpg#7``.

    Raises:
        InputError: for an address that does not answer, an archive that is cut off or holds no image.

    Example:
        >>> import zipfile, PIL.Image
        >>> PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        >>> with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        ...     archive.write(tmp_path / "a.png", "cats/a.png")
        >>> [sample.id for sample in archive_source(tmp_path / "photos.zip").samples()]
        ['cats/a.png']
    """
    many = not isinstance(address, (str, Path))
    given = [address] if isinstance(address, (str, Path)) else address
    found = [one for own in given for one in expanded(str(own))]
    if found and all(one.endswith(TARS) for one in found):
        return ShardSource(found, image, label)
    if image is not None or label is not None:
        raise InputError(f"image and label name members of tar shards, and {shown(found[0])} is none: leave them out")
    if many:
        return MemberSource(found, read_address)
    one = found[0]
    return images_in_zip(one) if one.endswith(".zip") and "::" not in one else images_behind(one)


class ShardSource(ImageSource):
    """Tar shards as WebDataset writes them, one after the other.

    Args:
        shards: paths or addresses.
        image: the member of a key that is its image.
        label: the member that is its label.
    """

    def __init__(self, shards: Sequence[str], image: str | None = None, label: str | None = None) -> None:
        self.shards, self.image, self.label = shards, image, label
        for shard in shards:
            _check_whole(shard)
        if next(self.samples(), None) is None:
            raise InputError(f"{shards[0]} holds no image, by the suffixes of its files: is it the right one?")

    def samples(self) -> Iterator[Sample]:
        """Yield the image of every key."""
        names = Names()
        for shard in self.shards:
            for key, group in groupby(_members(shard), lambda member: _split_name(member[0])[0]):
                parts = {_split_name(name)[1]: read for name, read in group}
                sample = _keyed_sample(key, parts, self.image, self.label)
                if sample is not None:
                    yield names.once(sample)

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return the sizes and the times of all shards, in one digest."""
        each = [stamp_of_file(Path(shard)) for shard in self.shards]
        return [None if None in each else sha256(" ".join(map(str, each)).encode()).hexdigest()[:32]] * len(rows)


class LoadedShards(ImageSource):
    """A ``webdataset.WebDataset``, or another Dataset whose samples are its dictionaries or pairs (image, label).

    It is gone through as it is: what it decodes is decoded by one thread, and what it shuffles has another order each
    time, so that pictures are found again by id.
    """

    def __init__(self, shards: Any) -> None:
        self.shards = shards
        self._order: list[str] = []

    def samples(self) -> Iterator[Sample]:
        """Yield the image of every key."""
        self._order = []
        for sample in self._named():
            self._order.append(sample.id)
            yield sample

    def only(self, ids: Collection[str]) -> ImageSource:
        """Return some images, in an order that is none of the rows'."""
        return OnlySource(self, ids, self._named)

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Go through the shards again, for the ids that these rows had."""
        wanted = {self._order[row]: None for row in rows if row < len(self._order)}
        found: dict[str, Sample] = {}
        for sample in self._named():
            if sample.id in wanted:
                found[sample.id] = sample
                if len(found) == len(wanted):
                    break
        return [found.get(self._order[row]) if row < len(self._order) else None for row in rows]

    def _named(self) -> Iterator[Sample]:
        return map(Names().once, self._all())

    def _all(self) -> Iterator[Sample]:
        for row, one in enumerate(self.shards):
            if isinstance(one, Mapping):
                parts = {name: part for name, part in one.items() if not name.startswith("__")}
                sample = _keyed_sample(str(one.get("__key__", row)), parts)
                if sample is not None:
                    yield sample
            elif isinstance(one, (tuple, list)) and len(one) == 2:
                yield Sample(str(row), one[0], one[1])
            else:
                raise InputError(
                    f"a sample of the WebDataset is {shown(one)}: let it give its dictionaries, or pairs by "
                    '.to_tuple("jpg", "cls")'
                )


# --- tar files ------------------------------------------------------------------------------------------------------


def _members(shard: str) -> Iterator[tuple[str, Read]]:
    """Yield the name of each file in a tar, and what reads it.

    Raises:
        InputError: if the tar cannot be read to its end; says after what.
    """
    last, count = "", 0
    try:
        on_disk = "://" not in shard
        seekable = on_disk and not _begins(shard).startswith(COMPRESSED)
        with _opened(shard) as stream, tarfile.open(fileobj=stream, mode="r:" if seekable else "r|*") as tar:
            for member in tar:
                if member.isreg():
                    plain = seekable and not member.issparse()
                    read = partial(_read_span, shard, member.offset_data, member.size)
                    yield member.name, read if plain else partial(_same, _content(tar, member))
                last, count = member.name, count + 1
            _check_end(tar)
    except InputError:
        raise
    except BROKEN as error:
        after = f"after {count:,} members, the last of them {shown(last)}" if count else "at its beginning"
        raise InputError(
            f"{shard} cannot be read on {after} ({one_line(error)}): it was cut off or damaged; copy or download "
            "it again"
        ) from None


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise unless a block of zeros came last, and nothing else: ``tarfile`` takes any other for the end as well."""
    rest: Any = tar.fileobj
    if rest.tell() != tar.offset + tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends without the mark of its end")
    while block := rest.read(1 << 16):
        if block.strip(b"\0"):
            raise tarfile.ReadError("what follows is no member")


def _opened(shard: str) -> Any:
    if "://" not in shard:
        return Path(shard).open("rb")
    files, path = opened_address(shard)
    return asked(shard, lambda: files.open(path, "rb"))


def _begins(shard: str) -> bytes:
    with Path(shard).open("rb") as stream:
        return stream.read(6)


def _check_whole(shard: str) -> None:
    """Raise if a tar on disk is not there, or does not end as a tar ends: before anything else is done."""
    if "://" in shard:
        return
    with check_regular_file(shard, "a tar shard").open("rb") as stream:
        if stream.read(6).startswith(COMPRESSED):
            return
        stream.seek(-min(len(END), Path(shard).stat().st_size), 2)
        whole = stream.read() == END
    if not whole:
        for _ in _members(shard):  # says after which member
            pass


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


def _read_span(path: str, start: int, size: int) -> bytes:
    with Path(path).open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


def _same(content: bytes) -> bytes:
    return content


# --- keys -----------------------------------------------------------------------------------------------------------


def _split_name(name: str) -> tuple[str, str]:
    """Return the key of a member, and what it is: "a.b/c.left.jpg" is "a.b/c" and "left.jpg"."""
    folder, slash, own = name.rpartition("/")
    stem, _, kind = own.partition(".")
    return f"{folder}{slash}{stem}", kind


def _keyed_sample(
    key: str, parts: Mapping[str, Any], image: str | None = None, label: str | None = None
) -> Sample | None:
    """Return the image of a key, whose parts are bytes, what reads them, or what a WebDataset made of them.

    None stands for a key without an image or label: a file beside the data set.

    Raises:
        InputError: for a key of several images.
    """
    images = [name for name, part in parts.items() if _is_image(name, part)] if image is None else [image]
    if len(images) > 1:
        some = " and ".join(images[:3])
        raise InputError(
            f"{shown(key)} has {len(images)} images, {some}: name one, as by "
            f"fdgpu.embedding.archive_source(…, image={images[0]!r})"
        )
    label_part = next((own for own in ([label] if label else LABELS) if own in parts), None)
    if not images or images[0] not in parts:
        if image is None and label_part in (None, "json", "txt"):
            return None
        return Sample(key, partial(_lacking, image or "image"), None)
    name = images[0]
    own_id = f"{key}.{name}" if _is_file(name) else key
    return Sample(own_id, parts[name], None if label_part is None else _label(label_part, parts[label_part]))


def _is_image(name: str, part: object) -> bool:
    if isinstance(part, Image.Image):
        return True
    if isinstance(part, bytes) or callable(part):
        return _is_file(name) or name in ("image", "img")
    return is_array(part) and getattr(part, "ndim", 0) >= 2


def _is_file(name: str) -> bool:
    return f".{name}".lower().endswith(known_suffixes())


def _lacking(what: str) -> bytes:
    raise InputError(f"has no {what} beside it: the members of one key have to follow each other")


def _label(name: str, part: Any) -> object:
    """Return a class name or a number, as a member holds it."""
    content = part() if callable(part) else part
    if name.endswith("json"):
        held = _parsed(content)
        return next((held[own] for own in NAMED if own in held), None) if isinstance(held, Mapping) else held
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    return (int(text) if text.strip().isdecimal() else text.strip()) if isinstance(text, str) else text


def _parsed(content: object) -> object:
    if not isinstance(content, (bytes, str)):
        return content
    try:
        return json.loads(content)
    except ValueError:
        return None


# --- addresses --------------------------------------------------------------------------------------------------------


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
