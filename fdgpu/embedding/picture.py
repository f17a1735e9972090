"""One image that is open → (3, h, w): PIL images, arrays and tensors, to be embedded and to be shown.

Files come from :mod:`fdgpu.embedding.image_file`. What an image may hold beside plain pixels has one policy each,
counted by :class:`Treatment`:

- An orientation (EXIF, XMP) is applied, as viewers do. A damaged one is passed over.
- Pixels that are not opaque are laid on white: so viewers and web pages show them, and so img2dataset wrote the images
  that LAION's models saw. PIL's own conversion would show the colours that the alpha channel hides.
- Greys of 16 bits are scaled by 65535, or by what a TIFF's header says. A header of PNG says nothing of use: its sBIT
  states that values were scaled to the whole range. So 12 bits in 16 cannot be told from a dark picture, and are
  doubted.
- CMYK is converted as PIL does it, inverted where Adobe wrote it. Colour profiles are left alone.
- Of several frames, pages or layers the first is taken.
- A picture of more than :data:`LARGE` pixels is averaged over squares first, far above what a model takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdgpu.arrays import is_array, to_host, to_torch
from fdgpu.errors import InputError, one_line

OUTSIDE = "an image of floats has values outside [0, 1], or NaN: scale it, or pass uint8"
LARGE = 20_000_000  # pixels; larger pictures are decoded one at a time, and averaged over squares down to this

# How to turn a picture by its orientation: transpose, then flip the rows, then the columns.
TURNS = {
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False), 5: (True, False, False),
    6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip
ORIENTATION, LARGEST_SAMPLE = 0x0112, 281  # tags


class Treatment(StrEnum):
    """What was done to an image that is more than plain pixels, as notes say it."""

    ORIENTED = "an orientation was applied"
    ON_WHITE = "an alpha channel was laid on white"
    FIRST_FRAME = "the first of several frames was taken"
    FROM_CMYK = "CMYK was converted to RGB, without a colour profile"
    DIM = (
        "16 bits were taken for the whole range, of which less than a quarter is used: 12 or 14 bits in 16 come out "
        "nearly black. Scale them to 16 bits, or save them as 8"
    )

    @property
    def doubtful(self) -> bool:
        """Whether the image may be wrong by it."""
        return self is Treatment.DIM


@dataclass(frozen=True)
class Picture:
    """One image: (3, h, w) uint8 or floats, where it lies, and what was done to it.

    ``inside`` says whether floats lie in [0, 1], on the picture's device; None where they must.
    """

    pixels: Tensor
    inside: Tensor | None = None
    treated: tuple[Treatment, ...] = ()

    def also(self, treatment: Treatment) -> Picture:
        """Return the picture, to which one more thing was done."""
        return replace(self, treated=(*self.treated, treatment))


def as_picture(image: object) -> Tensor:
    """Turn one PIL image, array or tensor into (3, h, w), uint8 or floats in [0, 1], where it lies.

    Grey images are repeated over the channels; four channels are RGBA, and laid on white.

    Raises:
        InputError: if it is none of these, empty, damaged, or floats lie outside [0, 1].
    """
    picture = as_unchecked_picture(image)
    _check_range(picture.inside)
    return picture.pixels


def as_unchecked_picture(image: object) -> Picture:
    """Return an image whose floats may lie anywhere: on a device, that is seen for many pictures at once."""
    treated: tuple[Treatment, ...] = ()
    if isinstance(image, Image.Image):
        try:
            pixels, treated = _from_pil(image)
        except InputError:
            raise
        except Exception as error:  # plugins raise what they like
            raise InputError(f"cannot be decoded ({one_line(error)})") from None
    elif isinstance(image, np.ndarray):
        given = np.ascontiguousarray(image)
        pixels = torch.from_numpy(given if given.flags.writeable else given.copy())  # torch warns of what is not
    elif isinstance(image, torch.Tensor) or is_array(image):
        pixels = to_torch(image, "an image")
    else:
        raise InputError(_no_picture(image))
    if pixels.ndim not in (2, 3):
        raise InputError(f"an image has shape {tuple(pixels.shape)}: pass (3, h, w), (h, w, 3) or (h, w)")
    pixels = _checked_type(_channels_first(pixels if pixels.ndim == 3 else pixels[None]))
    if pixels.shape[0] == 4:
        treated = (Treatment.ON_WHITE,)
    return Picture(on_white(pixels), in_range(pixels), treated)


def as_pictures(images: Tensor) -> Tensor:
    """Check a whole tensor of images, (n, 3, h, w), (n, 1, h, w), (n, h, w, 3) or grey (n, h, w); alpha is kept."""
    if images.ndim not in (3, 4):
        raise InputError(f"images has shape {tuple(images.shape)}: pass (n, 3, h, w), (n, h, w, 3) or (n, h, w)")
    pixels = _checked_type(_channels_first(images if images.ndim == 4 else images[:, None]))
    _check_range(in_range(pixels))
    return pixels


def on_white(pixels: Tensor) -> Tensor:
    """Lay (…, 4, h, w) on white, where it lies; (…, 3, h, w) is returned as it is."""
    if pixels.shape[-3] != 4:
        return pixels
    colour, alpha = pixels[..., :3, :, :], pixels[..., 3:, :, :]
    if pixels.dtype == torch.uint8:
        alpha = alpha.int()
        return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).to(torch.uint8)
    return colour * alpha + (1 - alpha)


def in_range(pixels: Tensor) -> Tensor | None:
    """Return whether all floats lie in [0, 1] and none is NaN, where they lie; None where that is known beforehand."""
    if pixels.dtype == torch.uint8 or not pixels.numel():
        return None
    return (pixels.amin() >= 0) & (pixels.amax() <= 1)  # of NaN, both are NaN


def _from_pil(image: Image.Image) -> tuple[Tensor, tuple[Treatment, ...]]:
    """Return (3, h, w) uint8, or (h, w) floats of a deep grey image, and what was done."""
    codec, carried = decoder_arguments(image), orientation_of(image)
    with _unmapped(image):
        image.load()
    step = math.ceil(math.sqrt(image.width * image.height / LARGE))
    array, treated = _greys(image, codec, step) if image.mode[0] in "IF" else _colours(_averaged(image, step), codec)
    if carried in TURNS:
        treated.append(Treatment.ORIENTED)
    pixels = torch.from_numpy(array if array.ndim == 2 else array.transpose(2, 0, 1))
    pixels = turned(pixels, orientation_of(image))  # of TIFF, PIL has turned them, and taken the tag away
    if has_more_frames(image):
        treated.append(Treatment.FIRST_FRAME)
    return pixels, tuple(treated)


def is_large(image: Image.Image) -> bool:
    """Whether a picture is one of those that are decoded one at a time."""
    return image.width * image.height > LARGE


def turned(pixels: Tensor, orientation: int | None) -> Tensor:
    """Turn (…, h, w) by what an image carries, as viewers do, wherever it lies."""
    if orientation not in TURNS:
        return pixels
    transpose, rows, columns = TURNS[orientation]
    upright = pixels.mT if transpose else pixels
    return upright.flip([axis for axis, flips in ((-2, rows), (-1, columns)) if flips])


def decoder_arguments(image: Image.Image) -> str:
    """Return what PIL tells its decoder: "RGB;16B" where it will cut off bits."""
    return " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))


@contextmanager
def _unmapped(image: Image.Image) -> Iterator[None]:
    """PIL maps a plain TIFF of a named file into memory, and then takes its orientation for applied in vain."""
    name = getattr(image, "filename", None)
    if name and image.format == "TIFF":
        image.filename = ""  # type: ignore[attr-defined]  # files have it, pictures that were made do not
    try:
        yield
    finally:
        if name:
            image.filename = name  # type: ignore[attr-defined]


def _averaged(image: Image.Image, step: int) -> Image.Image:
    """Average over squares of ``step`` pixels: what comes after it would hold a large picture several times."""
    if step <= 1:
        return image
    if image.has_transparency_data:
        return image.convert("RGBA").reduce(step)
    return (image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")).reduce(step)


def _colours(image: Image.Image, codec: str) -> tuple[NDArray[np.generic], list[Treatment]]:
    treated = []
    if image.mode == "CMYK":
        treated.append(Treatment.FROM_CMYK)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        least, _ = layer.getchannel("A").getextrema()
        if isinstance(least, int) and least < 255:
            treated.append(Treatment.ON_WHITE)
            white = Image.new("RGBA", image.size, "white")
            white.alpha_composite(layer)
            image = white
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    if ";16" in codec and pixels.max(initial=0) < 64:  # PIL keeps the upper eight bits
        treated.append(Treatment.DIM)
    return pixels, treated


def _greys(image: Image.Image, codec: str, step: int) -> tuple[NDArray[np.generic], list[Treatment]]:
    """Scale to [0, 1] what PIL's own conversion would cut off at 255."""
    # PIL scales a PGM of any depth to 16 bits, and a PNG of mode I has 16.
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format in ("PNG", "PPM")):
        raise InputError(f"an image is of mode {image.mode}, whose range is not known: save it as 8 or 16 bits")
    values = np.asarray(image).astype(np.float32)
    largest = values.max(initial=0)
    if step > 1:
        values = np.asarray(Image.fromarray(values).reduce(step))
    stated = getattr(image, "tag_v2", {}).get(LARGEST_SAMPLE)
    whole = 4095 if "I;12" in codec else stated[0] if isinstance(stated, tuple) and stated else stated
    if isinstance(whole, int) and max(largest, 255) <= whole <= 65535:
        return values / whole, []
    return values / 65535, [Treatment.DIM] if 0 < largest < 16384 else []


def orientation_of(image: Image.Image) -> int | None:
    """Return the orientation that an image carries; None without one, or where what carries it is damaged."""
    try:
        found = image.getexif().get(ORIENTATION)
    except Exception:  # a plugin, of a damaged header
        return None
    return found if isinstance(found, int) else None


def has_more_frames(image: Image.Image) -> bool:
    """Whether there are more frames, pages or layers; the second picture of a phone's JPEG (MPO) is no frame."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # the first was read
        return True


def _no_picture(image: object) -> str:
    """Say what came instead of a picture, and what to pass."""
    kind = type(image).__name__
    if isinstance(image, Mapping):
        keys = ", ".join(map(repr, list(image)[:5]))
        return f"an image is a {kind} with the keys {keys}: pass the pictures alone, as by dataset['image']"
    if isinstance(image, Sequence):
        inside = ", ".join(type(one).__name__ for one in image[:5])
        return f"an image is a {kind} of {len(image)} ({inside}): pass the pictures alone, and the labels as labels"
    return f"an image is a {kind}: pass a path, the bytes of an image file, a PIL image, an array or a tensor"


def _channels_first(pixels: Tensor) -> Tensor:
    """Move the channels of (…, c, h, w) or (…, h, w, c) first, and repeat grey; RGBA stays as it is."""
    first = pixels.shape[-3] in (1, 3) or (pixels.shape[-3] == 4 and pixels.shape[-1] != 3)
    if not first and pixels.shape[-1] in (1, 3, 4):
        pixels = pixels.movedim(-1, -3)
    channels, height, width = pixels.shape[-3:]
    if height == 0 or width == 0:
        raise InputError(f"an image has shape {tuple(pixels.shape)}: it holds no pixel")
    if channels == 1:
        return pixels.expand(*pixels.shape[:-3], 3, height, width)
    if channels in (3, 4):
        return pixels
    raise InputError(f"an image has shape {tuple(pixels.shape)}: pass 1, 3 or 4 channels, first or last")


def _checked_type(pixels: Tensor) -> Tensor:
    if pixels.dtype != torch.uint8 and not pixels.dtype.is_floating_point:
        raise InputError(f"an image is of type {pixels.dtype}: pass uint8, or floats in [0, 1]")
    return pixels


def _check_range(inside: Tensor | None) -> None:
    if inside is not None and not bool(to_host(inside, "whether the images' floats lie in [0, 1]")):
        raise InputError(OUTSIDE)
