"""Pictures on the page: rows of examples and grids of decoded pictures, each cut out of one sprite.

A sprite is one picture file inside the page, of square tiles, as a data URI.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from fdgpu.errors import InputError
from fdgpu.findings import ClassFindings, DecodedPictures, Example, Thumbnails
from fdgpu.report.formats import count, fixed, percent

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

    def offset(self, tile: int) -> str:
        """Return the column and row of a tile, counted row by row, as CSS variables; zeros are left out."""
        row, column = divmod(tile, self.columns)
        return ";".join(f"--{name}:{at}" for name, at in (("x", column), ("y", row)) if at)


def check_pixels(path: str, pixels: Pixels) -> Pixels:
    """Return ``pixels`` if they are a picture.

    Raises:
        InputError: if they are not uint8 of shape (height, width, 3) with at least one pixel.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        came = f"{pixels.dtype} {pixels.shape}"
        raise InputError(f"thumbnail of {path!r} is {came}: pass uint8 of shape (height, width, 3)")
    return pixels


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
    return Sprite(_data_uri(sheet, encoding.quality), columns, rows)


def _data_uri(sheet: Image.Image, quality: int) -> str:
    # Pillow can be built without WebP; JPEG takes about a third more bytes for the same look.
    kind = "webp" if features.check("webp") else "jpeg"
    stream = io.BytesIO()
    sheet.save(stream, kind, quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


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


# --- rows of examples -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """One tile: the words about it, where it lies in the sprite (None: no thumbnail), and the example that it shows."""

    words: str
    offset: str | None
    example: Example | None = None


@dataclass(frozen=True)
class Strip:
    """A row of pictures with a heading and what they have in common."""

    role: str
    heading: str
    chosen_by: str
    wrong: str
    pictures: tuple[Picture, ...]
    sprite: Sprite | None


def make_strip(
    role: str, heading: str, chosen_by: str, examples: Sequence[Example], thumbnails: Thumbnails, encoding: Encoding
) -> Strip:
    """Return a row of pictures and the sprite that holds them."""
    shown: list[Pixels] = []
    tiles: list[int | None] = []
    for example in examples:
        pixels = thumbnails.pixels.get(example.path)
        tiles.append(None if pixels is None else len(shown))
        if pixels is not None:
            shown.append(check_pixels(example.path, pixels))
    sprite = make_sprite(shown, encoding) if shown else None
    return Strip(
        role=role,
        heading=heading,
        chosen_by=chosen_by,
        wrong=f"{count(sum(not e.correct for e in examples))} of {count(len(examples))} wrong",
        pictures=tuple(
            Picture(picture_words(e), None if tile is None or sprite is None else sprite.offset(tile), e)
            for e, tile in zip(examples, tiles, strict=True)
        ),
        sprite=sprite,
    )


def picture_words(example: Example) -> str:
    """Return what is said about a picture when it is pointed at, a line each."""
    lines = [
        f"{'Right' if example.correct else 'Wrong'}: predicted {example.prediction}",
        f"decision {fixed(example.decision, 3)}",
    ]
    if example.confidence is not None and math.isfinite(example.confidence):
        lines.append(f"confidence {percent(example.confidence)}")
    return "\n".join([*lines, example.path])


# --- decoded pictures -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DecodedView:
    """The decoded pictures of a class: a column a rotation, from easy over neutral to hard, a row a noise (A.7).

    ``columns`` are (role, heading), the role hard, easy or plain.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Picture, ...], ...]
    sprite: Sprite


def decoded_view(one: ClassFindings, thumbnails: Thumbnails, encoding: Encoding) -> DecodedView | None:
    """Return the grid of a class; None where nothing was decoded, or no picture is there."""
    pixels = decoded_pixels(one, thumbnails)
    if not pixels:
        return None
    sprite = make_sprite(list(pixels.values()), encoding)
    offsets = {path: sprite.offset(tile) for tile, path in enumerate(pixels)}
    rows = zip(*(_tiles(column, offsets) for column in one.decoded), strict=True)
    return DecodedView(tuple(_heading(column) for column in one.decoded), tuple(rows), sprite)


def decoded_pixels(one: ClassFindings, thumbnails: Thumbnails) -> dict[str, Pixels]:
    """Return the decoded pictures that are there, by path."""
    paths = [path for column in one.decoded for path in column.paths]
    return {path: check_pixels(path, thumbnails.pixels[path]) for path in paths if path in thumbnails.pixels}


def _tiles(column: DecodedPictures, offsets: dict[str, str]) -> Iterator[Picture]:
    _, heading = _heading(column)
    return (Picture(f"{heading}, noise {i}\n{path}", offsets.get(path)) for i, path in enumerate(column.paths, 1))


def _heading(column: DecodedPictures) -> tuple[str, str]:
    """Return the role and the heading of a column."""
    if not column.alpha:
        return "plain", "neutral"
    return str(column.end), f"{column.end} {column.alpha:g}"
