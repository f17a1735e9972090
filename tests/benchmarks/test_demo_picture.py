"""README's picture: one row a planted class, in the order of the columns, from the first seed of each."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from benchmarks.demo.picture import GAP, TILE, picture
from fdgpu.demo.world import world_settings


def test_rows_are_planted_classes_and_columns_rotations(tmp_path: Path) -> None:
    planted = {plant.class_name for plant in world_settings().plants}
    shades, classes = {}, []
    for row, name in enumerate(world_settings().class_names):
        columns = []
        for column in range(3):
            path = f"{row}-{column}.png"
            shades[name, column] = (10 * row, 80 * column, 7)
            Image.new("RGB", (8, 8), shades[name, column]).save(tmp_path / path)
            columns.append({"paths": [path, "another-seed.png"]})
        classes.append({"name": name, "decoded": columns})
    (tmp_path / "audit.json").write_text(json.dumps({"classes": classes}))
    collage, pitch = picture(tmp_path), TILE + GAP
    shown = [name for name in world_settings().class_names if name in planted]
    assert collage.size == (3 * pitch - GAP, len(shown) * pitch - GAP)
    for y, name in enumerate(shown):
        for x in range(3):
            assert collage.getpixel((pitch * x + TILE // 2, pitch * y + TILE // 2)) == shades[name, x]
