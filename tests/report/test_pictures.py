from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fdgpu.errors import InputError
from fdgpu.findings import ClassFindings, DecodedPictures, Side, Thumbnails
from fdgpu.report import pictures, render_report
from fdgpu.report.pictures import (
    LADDER,
    Encoding,
    Sprite,
    choose_encoding,
    decoded_grid,
    make_sprite,
    make_strip,
    pixels_of,
    square,
    tile_side,
)

from .conftest import BuildClass, BuildFindings, examples

COLOURS = ((220, 30, 30), (30, 160, 60), (40, 60, 210), (240, 220, 40), (20, 20, 20), (250, 250, 250))


def flat(colour: tuple[int, int, int], height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def decode(sprite: Sprite) -> NDArray[np.uint8]:
    header, _, data = sprite.uri.partition(",")
    assert header in ("data:image/webp;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def cut(sprite: Sprite, tile: int) -> NDArray[np.uint8]:
    """Cut a tile out where its CSS variables say that it is."""
    sheet = decode(sprite)
    side = sheet.shape[0] // sprite.rows
    assert sheet.shape == (side * sprite.rows, side * sprite.columns, 3)
    position = dict(part.removeprefix("--").split(":") for part in sprite.position(tile).split(";") if part)
    row, column = int(position.get("y", 0)), int(position.get("x", 0))
    return sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]


@pytest.mark.parametrize("n", [1, 3, 10, 23])
@pytest.mark.parametrize("encoding", LADDER)
def test_tiles_come_back_in_order_and_within_lossy_tolerance(n: int, encoding: Encoding) -> None:
    originals = [flat(COLOURS[i % len(COLOURS)]) for i in range(n)]
    sprite = make_sprite(originals, encoding)
    for i, original in enumerate(originals):
        inner = cut(sprite, i)[2:-2, 2:-2].astype(float)
        assert np.abs(inner.mean((0, 1)) - original[0, 0]).max() < 8, f"tile {i}"
        if encoding.quality >= 76:  # below, colour runs a little from one tile into the next
            assert np.abs(inner - original[0, 0]).max() < 12, f"tile {i}"


def test_a_detailed_picture_survives() -> None:
    rows, columns = np.mgrid[0:96, 0:96]
    picture = np.stack([rows * 2, columns * 2, (rows + columns) % 256], 2).astype(np.uint8)
    tile = cut(make_sprite([flat(COLOURS[0]), picture], LADDER[0]), 1)
    assert tile.shape == picture.shape
    assert np.abs(tile.astype(int) - picture).mean() < 4


def test_without_webp_tiles_are_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures.features, "check", lambda _: False)
    sprite = make_sprite([flat(COLOURS[2])], LADDER[0])
    assert sprite.uri.startswith("data:image/jpeg;")
    assert np.abs(cut(sprite, 0).astype(int) - COLOURS[2]).max() < 12


@pytest.mark.parametrize(("height", "width"), [(40, 120), (120, 40)])
def test_the_middle_square_is_shown(height: int, width: int) -> None:
    picture = flat((255, 0, 0), height, width)
    rows, columns = slice((height - 40) // 2, (height + 40) // 2), slice((width - 40) // 2, (width + 40) // 2)
    picture[rows, columns] = (0, 255, 0)
    shown = np.asarray(square(picture, 32))
    assert shown.shape == (32, 32, 3)
    assert np.abs(shown[2:-2, 2:-2].astype(int) - (0, 255, 0)).max() <= 2


def test_tiny_pictures_keep_their_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    assert tile_side([picture], 96) == 84
    assert np.array_equal(np.asarray(square(picture, 84))[1::3, 1::3], picture)
    assert tile_side([picture, flat(COLOURS[0], 300, 200)], 96) == 96


def test_the_encoding_fits_the_budget_and_is_not_worse_than_it_must_be() -> None:
    rng = np.random.default_rng(0)
    noise = [[rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(10)] for _ in range(3)]
    sizes = [sum(len(make_sprite(grid, encoding).uri) for grid in noise) for encoding in LADDER]
    assert choose_encoding(noise, sizes[0]) == LADDER[0]
    assert choose_encoding(noise, sizes[3]) == next(
        e for e, size in zip(LADDER, sizes, strict=True) if size <= sizes[3]
    )
    assert choose_encoding(noise, 1) == LADDER[-1]
    assert choose_encoding([[], []], 1) == LADDER[0]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"thumbnail of 'a\.png' is .*: pass uint8"):
        pixels_of(["a.png"], Thumbnails({"a.png": pixels}))


def test_a_strip_of_which_no_thumbnail_is_there_has_no_sprite() -> None:
    strip = make_strip("hard", "Hardest", "", examples("cat", 3, correct=False), Thumbnails(), LADDER[0])
    assert (strip.sprite, strip.positions, strip.wrong) == (None, {}, "3 of 3 wrong")


DECODED_ENCODING = Encoding(32, 90)
DECODED = (
    DecodedPictures(Side.EASY, 0.3, ("d/easy-0.png", "d/easy-1.png")),
    DecodedPictures(Side.NEUTRAL, 0.0, ("d/neutral-0.png", "d/neutral-1.png")),
    DecodedPictures(Side.HARD, 0.3, ("d/hard-0.png", "d/hard-1.png")),
)


def thumbnails(*left_out: str) -> Thumbnails:
    paths = [path for column in DECODED for path in column.paths if path not in left_out]
    return Thumbnails({path: np.full((32, 32, 3), 10 * i, np.uint8) for i, path in enumerate(paths)})


def test_a_column_a_rotation_and_a_row_a_noise(build_class: BuildClass) -> None:
    grid = decoded_grid(build_class(decoded=DECODED), thumbnails(), DECODED_ENCODING)
    assert grid is not None
    headings, rows, sprite = grid
    assert headings == [
        ("easy", "easy 0.3"),
        ("plain", "neutral"),
        ("hard", "hard 0.3"),
    ]
    assert [[words.splitlines()[1] for words, _ in row] for row in rows] == [
        ["d/easy-0.png", "d/neutral-0.png", "d/hard-0.png"],
        ["d/easy-1.png", "d/neutral-1.png", "d/hard-1.png"],
    ]
    assert rows[1][2] == ("hard 0.3, noise 2\nd/hard-1.png", "--x:5")
    assert (sprite.columns, sprite.rows) == (6, 1)


def test_a_picture_that_is_gone_leaves_a_placeholder(build_class: BuildClass) -> None:
    grid = decoded_grid(build_class(decoded=DECODED), thumbnails("d/hard-0.png"), DECODED_ENCODING)
    assert grid is not None
    assert grid[1][0][2][1] is None
    assert grid[1][1][2][1] == "--x:4"


def test_nothing_decoded_shows_nothing(build_class: BuildClass, no_direction: ClassFindings) -> None:
    assert decoded_grid(no_direction, thumbnails(), DECODED_ENCODING) is None
    assert decoded_grid(build_class(decoded=DECODED), Thumbnails(), DECODED_ENCODING) is None


def test_the_page_shows_it_once_a_class(build_class: BuildClass, build_findings: BuildFindings) -> None:
    page = render_report(build_findings(build_class("cat", decoded=DECODED), build_class("dog")), thumbnails())
    assert page.count('<figure class="decoded">') == 1
    grid = page[page.index('<figure class="decoded">') :].partition("</figure>")[0]
    assert re.findall(r'<th scope="col" class="(\w+)">([^<]+)', grid) == [
        ("easy", "easy 0.3"),
        ("plain", "neutral"),
        ("hard", "hard 0.3"),
    ]
    assert grid.count('class="tile"') == 6
    assert "generated, not found" in grid
