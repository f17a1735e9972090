"""Write the bundled photographs from the original Fashion-MNIST files.

    python -m tools.make_photographs FOLDER

FOLDER holds ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz`` (Debian ships them as
``dataset-fashion-mnist``). A class's images are taken in their original order: the first go to ``clip``, the
next to ``base``, then ``val``, then ``test``. ``clip`` trains the weights and does not ship; the others are what the
demo reads. ``split.csv`` records the range of every split within its class.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdgpu.demo.world import world_settings

PHOTOGRAPHS = Path(__file__).parent / "photographs"  # of the splits that do not ship
SHIPPED = Path(__file__).parents[1] / "fdgpu" / "demo" / "photographs"
PER_CLASS = {"clip": 3000, "base": 2000, "val": 500, "test": 500}  # no photograph is in two splits
COLUMNS = 50  # photographs side by side in a sprite sheet


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes: a header of big-endian sizes, then the data."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(tuple(shape))


def paste_sheet(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Paste tiles (n, t, t) into one sprite sheet, row by row; the inverse of ``cut_sheet`` up to empty tiles."""
    n, tile, _ = tiles.shape
    rows = -(-n // columns)
    padded = np.zeros((rows * columns, tile, tile), tiles.dtype)
    padded[:n] = tiles
    return padded.reshape(rows, columns, tile, tile).swapaxes(1, 2).reshape(rows * tile, columns * tile)


def main(source: Path, shipped: Path = SHIPPED, kept: Path = PHOTOGRAPHS) -> None:
    """Cut the splits, write one sprite sheet per split and class, and record which image went where."""
    images = read_idx(source / "train-images-idx3-ubyte.gz")
    labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    records: list[tuple[object, ...]] = []
    for label, name in enumerate(world_settings().class_names):
        members = np.flatnonzero(labels == label)
        start = 0
        for split, count in PER_CLASS.items():
            chosen = members[start : start + count]
            path = (kept if split == "clip" else shipped) / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(paste_sheet(images[chosen], COLUMNS)).save(path, optimize=True)
            records.append((split, name, start, start + len(chosen), chosen[0], chosen[-1]))
            start += len(chosen)
    with (kept / "split.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["split", "class", "start", "stop", "first_train_index", "last_train_index"])
        writer.writerows(records)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
