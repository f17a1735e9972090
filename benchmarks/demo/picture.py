"""Lay out README's picture of the demo's decoded directions.

    fdgpu demo --decode --out demo-report
    python -m benchmarks.demo.picture demo-report        # writes benchmarks/results/decoded.png

One row a planted class, from easy over neutral to hard, the first seed of each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from benchmarks.stored import FOLDER
from fdgpu.demo.world import world_settings

TILE, GAP = 96, 4  # pixels


def picture(report: Path) -> Image.Image:
    """Return the collage of an audit's folder."""
    planted = {plant.class_name for plant in world_settings().plants}
    classes = json.loads((report / "audit.json").read_text(encoding="utf-8"))["classes"]
    rows = [[column["paths"][0] for column in one["decoded"]] for one in classes if one["name"] in planted]
    pitch = TILE + GAP
    collage = Image.new("RGB", (pitch * len(rows[0]) - GAP, pitch * len(rows) - GAP), "white")
    for y, paths in enumerate(rows):
        for x, path in enumerate(paths):
            with Image.open(report / path) as tile:
                collage.paste(tile.resize((TILE, TILE), Image.Resampling.BICUBIC), (pitch * x, pitch * y))
    return collage


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="folder of a demo with --decode")
    picture(parser.parse_args().report).save(FOLDER / "decoded.png", optimize=True)
