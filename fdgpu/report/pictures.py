"""Thumbnails → rows and grids of square tiles, each cut out of one WebP picture inside the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from fdgpu.errors import InputError
from fdgpu.findings import ClassFindings, DecodedPictures, Example, Thumbnails
from fdgpu.report.wording import count

Pixels = NDArray[np.uint8]

COLUMNS = 10
SAMPLED_GRIDS = 12


@dataclass(frozen=True)
class Encoding:
    """How the tiles of a page are stored: their side in pixels and the quality (0 to 100)."""

    side: int
    quality: int


# Sides are multiples of 16, the block of lossy WebP and of JPEG's subsampled chroma: no tile bleeds into the next.
LADDER = (
    Encoding(96, 84),
    Encoding(80, 80),
    Encoding(64, 76),
    Encoding(64, 60),
    Encoding(48, 60),
    Encoding(48, 40),
    Encoding(32, 50),
    Encoding(32, 25),
)


@dataclass(frozen=True)
class Sprite:
    """One picture that holds all the tiles of a grid, ``columns`` in a row, in order."""

    uri: str
    columns: int
    rows: int

    def position(self, tile: int) -> str:
        """Return the column and row of a tile, counted row by row, as CSS variables; zeros are left out."""
        row, column = divmod(tile, self.columns)
        return ";".join(f"--{name}:{at}" for name, at in (("x", column), ("y", row)) if at)


@dataclass(frozen=True)
class Strip:
    """A row of pictures and what they have in common.

    By path: ``positions`` in the sprite, of thumbnails alone; ``rows`` in the page's list, of images that it lists.
    """

    role: str
    heading: str
    chosen_by: str
    examples: tuple[Example, ...]
    sprite: Sprite | None
    positions: dict[str, str]
    rows: Mapping[str, int]
    only_names: bool = False

    @property
    def wrong(self) -> str:
        """How many of them the model gets wrong, in words."""
        return f"{count(sum(not e.correct for e in self.examples))} of {count(len(self.examples))} wrong"


def pixels_of(paths: Iterable[str], thumbnails: Thumbnails) -> dict[str, Pixels]:
    """Return the thumbnails that are there, by path, in the order of ``paths``.

    Raises:
        InputError: if one is not uint8 of shape (height, width, 3) with at least one pixel.
    """
    found = {path: thumbnails.pixels[path] for path in paths if path in thumbnails.pixels}
    for path, pixels in found.items():
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            came = f"{pixels.dtype} {pixels.shape}"
            raise InputError(f"thumbnail of {path!r} is {came}: pass uint8 of shape (height, width, 3)")
    return found


def square(pixels: Pixels, side: int) -> Image.Image:
    """Cut the middle square out of ``pixels`` (height, width, 3) and bring it to ``side`` x ``side``.

    Pictures of less than half the side keep their pixels visible: blown up smoothly they would be a blur.
    """
    tiny = 2 * min(pixels.shape[:2]) <= side
    method = Image.Resampling.NEAREST if tiny else Image.Resampling.LANCZOS
    return ImageOps.fit(Image.fromarray(np.ascontiguousarray(pixels)), (side, side), method)


def tile_side(pictures: Sequence[Pixels], most: int) -> int:
    """Return the side of a sprite's tiles: ``most``, or the last whole multiple of a tiny picture's side below it.

    Pictures of 64 pixels are stored at 96 although they hold no more: WebP halves the resolution of colour, and
    enlarged they keep their coloured edges for a quarter more bytes.
    """
    largest = max(min(p.shape[:2]) for p in pictures)
    return largest * (most // largest) if 2 * largest <= most else most


def make_sprite(pictures: Sequence[Pixels], encoding: Encoding) -> Sprite:
    """Pack pictures, each (height, width, 3) uint8, at least one, into a sprite."""
    side = tile_side(pictures, encoding.side)
    columns = min(len(pictures), COLUMNS)
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * side, rows * side))
    for i, pixels in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet.paste(square(pixels, side), (column * side, row * side))
    return Sprite(data_uri(sheet, encoding.quality), columns, rows)


def data_uri(sheet: Image.Image, quality: int) -> str:
    """Encode a picture as WebP inside a data URI."""
    # Pillow can be built without WebP; JPEG takes about a third more bytes for the same look.
    kind = "webp" if features.check("webp") else "jpeg"
    stream = io.BytesIO()
    sheet.save(stream, kind, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def pack(paths: Iterable[str], thumbnails: Thumbnails, encoding: Encoding) -> tuple[Sprite | None, dict[str, str]]:
    """Return a sprite of the thumbnails that are there (None without any), and by path where each lies in it."""
    found = pixels_of(paths, thumbnails)
    sprite = make_sprite(list(found.values()), encoding) if found else None
    # A missing thumbnail leaves no gap: the next one takes its tile.
    return sprite, {path: sprite.position(tile) for tile, path in enumerate(found)} if sprite else {}


def make_strip(
    role: str,
    heading: str,
    chosen_by: str,
    examples: Sequence[Example],
    thumbnails: Thumbnails,
    encoding: Encoding,
    rows: Mapping[str, int] = MappingProxyType({}),
) -> Strip:
    """Return a row of pictures and the sprite that holds them."""
    sprite, positions = pack((example.path for example in examples), thumbnails, encoding)
    return Strip(role, heading, chosen_by, tuple(examples), sprite, positions, rows, thumbnails.only_names)


# (role, heading) of each column; rows of (words, position in the sprite or None); the sprite.
DecodedGrid = tuple[list[tuple[str, str]], list[tuple[tuple[str, str | None], ...]], Sprite]


def decoded_grid(one: ClassFindings, thumbnails: Thumbnails, encoding: Encoding) -> DecodedGrid | None:
    """Return the decoded pictures of a class as a table: a column a rotation, from easy to hard, a row a noise (A.7).

    Returns:
        The role and heading of each column, the rows of tiles, and their sprite; None where there is no picture.
    """
    paths = (path for column in one.decoded for path in column.paths)
    sprite, positions = pack(paths, thumbnails, encoding)
    if sprite is None:
        return None
    headings = [_heading(column) for column in one.decoded]
    columns = (
        [(f"{heading}, noise {i}\n{path}", positions.get(path)) for i, path in enumerate(column.paths, 1)]
        for (_, heading), column in zip(headings, one.decoded, strict=True)
    )
    return headings, list(zip(*columns, strict=True)), sprite


def _heading(column: DecodedPictures) -> tuple[str, str]:
    return (str(column.end), f"{column.end} {column.alpha:g}") if column.alpha else ("plain", "neutral")


def choose_encoding(grids: Sequence[Sequence[Pixels]], budget: int) -> Encoding:
    """Return the best encoding at which all grids together stay within ``budget`` bytes.

    A sample of the grids, spread evenly, is encoded at each step of the ladder: how well pictures compress
    depends on what they show. The last step is taken where none fits.
    """
    filled = [grid for grid in grids if grid]
    if not filled:
        return LADDER[0]
    n = min(len(filled), SAMPLED_GRIDS)
    sample = [filled[i * len(filled) // n] for i in range(n)]
    scale = sum(map(len, filled)) / sum(map(len, sample))
    for encoding in LADDER[:-1]:
        if scale * sum(len(make_sprite(grid, encoding).uri) for grid in sample) <= budget:
            return encoding
    return LADDER[-1]
