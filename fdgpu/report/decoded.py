"""Decoded pictures of a class → a grid: a column a rotation, from easy over neutral to hard, a row a noise (A.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fdgpu.findings import ClassFindings, DecodedPictures, Thumbnails
from fdgpu.report.pictures import Encoding, Pixels, Sprite, check_pixels, make_sprite


@dataclass(frozen=True)
class DecodedTile:
    """One picture: the words about it, and where it lies in the sprite (None: no picture)."""

    words: str
    place: str | None


@dataclass(frozen=True)
class DecodedColumn:
    """The heading of a column; ``role`` is hard, easy or plain."""

    role: str
    heading: str


@dataclass(frozen=True)
class DecodedView:
    """The grid, row by row."""

    columns: tuple[DecodedColumn, ...]
    rows: tuple[tuple[DecodedTile, ...], ...]
    sprite: Sprite


def decoded_view(one: ClassFindings, thumbnails: Thumbnails, encoding: Encoding) -> DecodedView | None:
    """Return the grid of a class; None where nothing was decoded, or no picture is there."""
    pixels = decoded_pixels(one, thumbnails)
    if not pixels:
        return None
    sprite = make_sprite(list(pixels.values()), encoding)
    places = {path: sprite.place(tile) for tile, path in enumerate(pixels)}
    rows = zip(*(_tiles(column, places) for column in one.decoded), strict=True)
    return DecodedView(tuple(_heading(column) for column in one.decoded), tuple(rows), sprite)


def decoded_pixels(one: ClassFindings, thumbnails: Thumbnails) -> dict[str, Pixels]:
    """Return the decoded pictures that are there, by path."""
    paths = [path for column in one.decoded for path in column.paths]
    return {path: check_pixels(path, thumbnails.pixels[path]) for path in paths if path in thumbnails.pixels}


def _tiles(column: DecodedPictures, places: dict[str, str]) -> Iterator[DecodedTile]:
    said = _heading(column).heading
    return (DecodedTile(f"{said}, noise {i}\n{path}", places.get(path)) for i, path in enumerate(column.paths, 1))


def _heading(column: DecodedPictures) -> DecodedColumn:
    if not column.alpha:
        return DecodedColumn("plain", "neutral")
    return DecodedColumn(column.end, f"{column.end} {column.alpha:g}")
