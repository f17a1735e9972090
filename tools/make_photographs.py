"""Write the bundled photographs from the original Fashion-MNIST files.

    python -m tools.make_photographs FOLDER

FOLDER holds ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz`` (Debian ships them as
``dataset-fashion-mnist``). A class's images are taken in their original order: the first go to ``clip``, the
next to ``base``, then ``val``, then ``test``. ``split.csv`` records the range of every split within its class.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from fdgpu.demo.photographs import paste_sheet
from fdgpu.demo.settings import SPLITS, world_settings


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped idx file of unsigned bytes: a header of big-endian sizes, then the data."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(tuple(shape))


def main(source: Path, target: Path) -> None:
    """Cut the splits, write one sheet per split and class, and record which image went where."""
    settings = world_settings()
    images = read_idx(source / "train-images-idx3-ubyte.gz")
    labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    records = []
    for name, source_id in zip(settings.class_names, settings.source_ids, strict=True):
        members = np.flatnonzero(labels == source_id)
        start = 0
        for split in SPLITS:
            chosen = members[start : start + settings.per_class[split]]
            path = target / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(paste_sheet(images[chosen], settings.columns)).save(path, optimize=True)
            records.append((split, name, start, start + len(chosen), chosen[0], chosen[-1]))
            start += len(chosen)
    with (target / "split.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["split", "class", "start", "stop", "first_train_index", "last_train_index"])
        writer.writerows(records)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "photographs")
