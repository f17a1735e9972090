"""An image file, by its path, its bytes or its stream → what is made of its picture; or why there is none.

Pillow reads every header, which says what the file holds. What is plain by it (a JPEG or PNG of 8 bits, opaque, one
frame) is decoded by torchcodec where that runs: bit for bit as Pillow would, but faster, and without a copy. All else
is Pillow's, and so is what torchcodec refuses: one decoder says what is broken. Pillow is the faster one at AVIF and
GIF, and the stricter one at WebP.
Where it has no plugin for AVIF or HEIC, torchcodec stands in.

A CUDA device decodes JPEGs many in one call, and a model sees them there, while another batch goes through it. nvJPEG
may round and spread the colours of blocks otherwise than the decoders of the host do, so that vectors need not be those
of the same files decoded on the host to the last bit.
"""

from __future__ import annotations

import importlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, TypeGuard, TypeVar

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from fdgpu.cuda import capability_of, version_of
from fdgpu.embedding.picture import (
    TURNS,
    Picture,
    Treatment,
    as_unchecked_picture,
    decoder_arguments,
    has_more_frames,
    is_large,
    orientation_of,
    turned,
)
from fdgpu.errors import InputError, one_line

File = Path | str | bytes | BinaryIO
T = TypeVar("T")

# What PIL opens and is no picture, or would be drawn by a program of the system (PostScript by Ghostscript).
NO_PICTURES = {"BUFR", "EPS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "MPEG", "PDF", "WMF"}
HEIC = (
    "needs libheif for torchcodec (apt install libheif1), or pillow-heif (pip install pillow-heif, "
    "pillow_heif.register_heif_opener()), or convert it to JPEG"
)
DRAWING = "is a drawing and no pixels: convert it to PNG, as by cairosvg"
ELSEWHERE = {
    ".heic": HEIC, ".heif": HEIC, ".hif": HEIC, ".svg": DRAWING, ".svgz": DRAWING,
    ".avif": "needs Pillow 11.3 or later, or torchcodec", ".jxl": "needs pillow-jxl-plugin, or convert it to PNG",
}  # fmt: skip

# What torchcodec decodes as Pillow does: the name of its function, and the modes in which Pillow reads what is plain.
PLAIN = {
    "JPEG": ("decode_jpeg", {"RGB", "L"}), "MPO": ("decode_jpeg", {"RGB", "L"}),
    "PNG": ("decode_png", {"RGB", "L", "P", "1"}),
}  # fmt: skip
# Brands of ISO's container for images, by the suffix of what they hold: AVIF may carry those of HEIC's family too.
BRANDS = {
    ".avif": (b"avif", b"avis"),
    ".heic": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
}
PNG_TURNS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")  # what may hold a PNG's orientation
END_OF_IMAGE = b"\xff\xd9"
FIRST_TORCH = (2, 11)  # of torchcodec 0.16, the first with decoders of images
START_OF_SCAN, APP1, APP15 = 0xDA, 0xE1, 0xEF  # markers of a JPEG's segments
FIRST_WITH_DECODER = (8, 0)  # of older cards, nvJPEG is no faster than the cores of the host
PIXELS_AT_ONCE = 100_000_000  # of the pictures that lie on the device in their own size

_one_large = threading.Lock()


def picture_formats() -> tuple[str, ...]:
    """Return PIL's names of the formats that are read, in the order to try; a plugin that was registered is there."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - NO_PICTURES, key=lambda name: (name not in PLAIN, name)))


def suffixes() -> list[str]:
    """Return the suffixes by which a folder is searched: of every picture that can be decoded here."""
    formats = set(picture_formats())
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in formats}
    known |= {".avif"} if _stands_in(".avif") else set()
    known |= {".heic", ".heif", ".hif"} if _stands_in(".heic") else set()
    return sorted(known)


def is_file(image: object) -> TypeGuard[File]:
    """Whether an image is a file: a path, its bytes, or what can be read."""
    return isinstance(image, (str, Path, bytes, bytearray, memoryview)) or hasattr(image, "read")


def read_picture(file: File) -> Picture:
    """Decode an image file.

    Raises:
        InputError: with nothing but the reason, to be said after the file's name.
    """
    return made_of_file(file, lambda picture: picture)


def made_of_file(file: File, use: Callable[[Picture], T], smallest: int | None = None) -> T:
    """Decode an image file, and return what ``use`` makes of it; of large pictures only one at a time.

    Args:
        file: a path, the bytes of a file, or a file that is open, which is read from its start.
        use: what is made of the picture.
        smallest: decode a JPEG at a half, a quarter or an eighth of its size where that is a whole number of pixels,
            and so many for each side; None for the whole size.

    Raises:
        InputError: as :func:`read_picture`.
    """
    with _opened(file) as stream:
        try:
            image = Image.open(stream, formats=picture_formats())
            reduced = smallest is not None and _reduces(image, smallest)
        except UnidentifiedImageError:
            return use(_without_pillow(stream, file))
        except Exception as error:  # a plugin raises what it likes of a damaged header
            raise InputError(f"cannot be decoded ({one_line(error)})") from None

        def decode() -> T:
            with closing(image):  # gives the pixels back at once; to leave an image's own ``with`` only closes the file
                plain = None if reduced or large else _by_torchcodec(image, stream)
                return use(plain or as_unchecked_picture(image))

        if not (large := is_large(image)):
            return decode()
        # A thread of its own: malloc keeps what a thread gave back, and each of a pool would keep a large picture.
        with _one_large, ThreadPoolExecutor(1) as alone:
            return alone.submit(decode).result()


@contextmanager
def _opened(file: File) -> Iterator[BinaryIO]:
    if isinstance(file, (Path, str)):
        with _opened_path(Path(file)) as stream:
            yield stream
    elif isinstance(file, (bytes, bytearray, memoryview)):
        yield BytesIO(file)
    else:
        try:
            if file.seekable():
                file.seek(0)
            content = file.read()
        except Exception as error:  # of a file that is somewhere else, anything
            raise InputError(f"cannot be read ({one_line(error)})") from None
        yield BytesIO(content)


def _opened_path(path: Path) -> BinaryIO:
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116 - Path has no S_IFMT
        if kind == stat.S_IFREG:
            return path.open("rb")
    except FileNotFoundError:
        address = next((part for part in path.parts if part in _ADDRESSES), None)
        raise InputError(
            f"is an address ({address}//): download it and pass its path" if address else "does not exist"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be decoded ({one_line(error)})") from None
    raise InputError(f"is {_KINDS.get(kind, 'no file')}, and no image file")


_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}  # fmt: skip
_ADDRESSES = {"http:", "https:", "ftp:", "s3:", "gs:"}


def _reduces(image: Image.Image, smallest: int) -> bool:
    """Have a JPEG decoded at a fraction of its size, if both sides keep ``smallest`` pixels; whether it will be.

    Only at one that divides both sides: at others libjpeg rounds up, which stretches the picture by up to a pixel.
    """
    whole = width, height = image.size
    fits = (n for n in (8, 4, 2) if width % n == height % n == 0 and min(width, height) >= n * smallest)
    if image.format in ("JPEG", "MPO") and (n := next(fits, None)):
        image.draft(image.mode, (width // n, height // n))
    return image.size != whole


# --- torchcodec -------------------------------------------------------------------------------------------------------


@cache
def torchcodec_decoders() -> ModuleType | str:
    """Return torchcodec's decoders, or the reason why there are none; its wheels say nothing of torch's version."""
    if version_of(torch.__version__) < FIRST_TORCH:
        return f"torchcodec decodes images with torch 2.11 or later, and this is {torch.__version__}"
    try:
        decoders = importlib.import_module("torchcodec.decoders")
    except ModuleNotFoundError as error:
        return "torchcodec is not installed" if error.name == "torchcodec" else one_line(error)
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return f"torchcodec cannot be imported: it may be built for another torch ({one_line(error)})"
    if not hasattr(decoders, "decode_jpeg"):
        return "this torchcodec has no decoders of images: 0.16 or later has"
    return decoders


@cache
def _stands_in(suffix: str) -> bool:
    """Whether torchcodec decodes AVIF or HEIC; for HEIC it looks for libheif."""
    decoders = torchcodec_decoders()
    if isinstance(decoders, str) or suffix not in BRANDS:
        return False
    try:
        decoders.decode_heic(torch.zeros(1, dtype=torch.uint8))
    except ImportError:
        return suffix != ".heic"
    except Exception:  # what it says of a file that is none
        return True
    return True


@dataclass(frozen=True)
class Plain:
    """A file that torchcodec decodes as Pillow would: by which function, its bytes, and what its header says."""

    function: str
    content: bytearray
    size: tuple[int, int]  # width and height, not turned
    orientation: int | None

    @property
    def encoded(self) -> Tensor:
        """The bytes, as torchcodec takes them."""
        return torch.frombuffer(self.content, dtype=torch.uint8)

    def picture(self, pixels: Tensor) -> Picture | None:
        """Turn what was decoded, wherever it lies; None if it is of another size."""
        if pixels.shape != (3, *self.size[::-1]):
            return None
        treated = (Treatment.ORIENTED,) if self.orientation in TURNS else ()
        return Picture(turned(pixels, self.orientation), treated=treated)


def plain_jpeg(file: File) -> Plain | None:
    """Return a JPEG that is plain and has its end, to be decoded elsewhere; None for whatever else it is."""
    try:
        with _opened(file) as stream, Image.open(stream, formats=("JPEG", "MPO")) as image:
            plain = None if is_large(image) else _plain(image, stream)
    except Exception:  # whatever it is, it is said where it is decoded
        return None
    return plain if plain is not None and plain.content.rstrip(b"\0").endswith(END_OF_IMAGE) else None


def _by_torchcodec(image: Image.Image, stream: BinaryIO) -> Picture | None:
    """Decode what is plain as Pillow would; None for all else."""
    decoders, plain = torchcodec_decoders(), _plain(image, stream)
    if plain is None or isinstance(decoders, str):
        return None
    try:
        return plain.picture(getattr(decoders, plain.function)(plain.encoded))
    except Exception:  # whatever it is, Pillow says what is broken
        return None


def _plain(image: Image.Image, stream: BinaryIO) -> Plain | None:
    function, modes = PLAIN.get(str(image.format), ("", ()))
    if image.mode not in modes or image.has_transparency_data or has_more_frames(image):
        return None
    content = _content(stream)
    if function == "decode_jpeg":  # it turns a picture by some of what Pillow knows: kept from that, it is turned here
        orientation, known = orientation_of(image), without_exif(content)
    else:  # a PNG may tell its orientation behind its pixels, so that Pillow decodes it before it says so
        orientation, known = None, not any(mark in content for mark in PNG_TURNS)
    return (
        Plain(function, content, image.size, orientation) if known and ";16" not in decoder_arguments(image) else None
    )


def _content(stream: BinaryIO) -> bytearray:
    """Return all bytes, and leave the stream where it was."""
    position = stream.tell()
    content = bytearray(stream.seek(0, os.SEEK_END))
    stream.seek(0)
    stream.readinto(content)  # type: ignore[attr-defined]  # both kinds of stream have it
    stream.seek(position)
    return content


def without_exif(jpeg: bytearray) -> bool:
    """Give the segments that hold Exif or XMP a marker which decoders skip; whether the header was read to its end."""
    at = 2
    while at + 4 <= len(jpeg) and jpeg[at] == 0xFF:
        if jpeg[at + 1] == START_OF_SCAN:
            return True
        if jpeg[at + 1] == APP1:
            jpeg[at + 1] = APP15
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return False


def _without_pillow(stream: BinaryIO, file: File) -> Picture:
    """Decode what Pillow does not know, of any depth, with alpha or without; of several frames the first."""
    stream.seek(0)
    head = stream.read(64)
    brands = head[8:] if head[4:8] == b"ftyp" else b""
    own = Path(file).suffix.lower() if isinstance(file, (Path, str)) else ""
    suffix = next((suffix for suffix, names in BRANDS.items() if any(name in brands for name in names)), own)
    decoders = torchcodec_decoders()
    if isinstance(decoders, str) or not brands or not _stands_in(suffix):
        known = suffix in ELSEWHERE and suffix not in suffixes()
        raise InputError(ELSEWHERE[suffix] if known else "is not an image")
    content = torch.frombuffer(bytearray(head + stream.read()), dtype=torch.uint8)
    try:
        frames: Tensor = decoders.decode_image(content, mode="RGB_ALPHA", output_dtype="auto")
    except Exception as error:  # of a damaged file, whatever its libraries say
        raise InputError(f"cannot be decoded ({_PLACE.sub('', one_line(error))})") from None
    pixels = frames[0] if frames.ndim == 4 else frames
    pixels = pixels if pixels.dtype == torch.uint8 else pixels.float() / 65535
    opaque = bool(pixels[3].amin() == (255 if pixels.dtype == torch.uint8 else 1))
    picture = as_unchecked_picture(pixels[:3] if opaque else pixels)
    return picture.also(Treatment.FIRST_FRAME) if frames.ndim == 4 else picture


_PLACE = re.compile(r"^\w+, \S+:\d+, ")  # in torchcodec's source, before what it says


# --- on a CUDA device -------------------------------------------------------------------------------------------------


@contextmanager
def device_decoder(device: torch.device | None) -> Iterator[DeviceDecoder | None]:
    """Open a decoder where JPEGs are decoded on the device: on CUDA of sm_80 or newer. Elsewhere there is none."""
    usable = device is not None and device.type == "cuda" and not isinstance(torchcodec_decoders(), str)
    if device is None or not usable or capability_of(device) < FIRST_WITH_DECODER:
        yield None
        return
    decoder = DeviceDecoder(device)
    try:
        yield decoder
    finally:
        decoder.close()


class DeviceDecoder:
    """Decodes on a device in a thread of its own, on a stream of its own: nobody else waits for it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self._alone = ThreadPoolExecutor(1)

    def submit(self, make: Callable[[], T]) -> Future[tuple[T, torch.cuda.Event]]:
        """Have something made on the stream: in turn, with the event after which it is there."""

        def run() -> tuple[T, torch.cuda.Event]:
            with torch.cuda.stream(self.stream):
                return make(), self.stream.record_event()

        return self._alone.submit(run)

    def each(self, jpegs: Sequence[Plain], use: Callable[[int, Picture], T | None]) -> list[T | None]:
        """Return what ``use`` makes of each, by its index and its picture; None for what cannot be decoded here."""
        decoders = torchcodec_decoders()
        if isinstance(decoders, str):
            return [None] * len(jpegs)
        found: list[T | None] = []
        for some in _at_once(jpegs):
            for picture in self._decoded(some, decoders):
                found.append(None if picture is None else use(len(found), picture))
        return found

    def _decoded(self, jpegs: Sequence[Plain], decoders: ModuleType) -> list[Picture | None]:
        try:
            pixels = decoders.decode_jpeg([jpeg.encoded for jpeg in jpegs], device=self.device)
        except Exception:  # one that is broken fails the call: it is looked for by halves, and decoded on the host
            if len(jpegs) == 1:
                return [None]
            half = len(jpegs) // 2
            return self._decoded(jpegs[:half], decoders) + self._decoded(jpegs[half:], decoders)
        return [jpeg.picture(one) for jpeg, one in zip(jpegs, pixels, strict=True)]

    def close(self) -> None:
        """Let the thread end."""
        self._alone.shutdown()


def _at_once(jpegs: Sequence[Plain]) -> list[list[Plain]]:
    """Cut into parts whose pictures lie on the device together."""
    parts: list[list[Plain]] = []
    room = 0
    for jpeg in jpegs:
        width, height = jpeg.size
        if width * height > room:
            parts.append([])
            room = PIXELS_AT_ONCE
        parts[-1].append(jpeg)
        room -= width * height
    return parts


def handed_over(tensors: Sequence[Tensor], ready: torch.cuda.Event) -> None:
    """Let the current stream of a device use what another has made: the device waits for it, the host does not."""
    for tensor in tensors:
        if tensor.is_cuda:  # nothing of a batch may have been readable
            current = torch.cuda.current_stream(tensor.device)
            current.wait_event(ready)
            tensor.record_stream(current)
