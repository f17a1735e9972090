"""Images a second from each kind of source, beside the format's own reader: decoded and resized to 224, no model.

    python -m benchmarks.speed.sources [--images 400] [--repeats 5] [--write]

Photograph-like JPEGs of 500 x 375 are written by each format's own writer. Its own reader stands in a DataLoader with a
worker a core, which decodes by Pillow and resizes as open_clip's transform does; FFCV has its own loader, and its JPEGs
at most 256 pixels. Rounds alternate; medians are compared. Where pixels differ by more than three levels on average,
there is no ratio. FFCV's lines need FFCV: ``make ffcv``, then run this by ``.venv-ffcv/bin/python``.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torchvision.transforms import InterpolationMode, v2

from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.device import cpu_count
from fdgpu.embedding import image_source
from fdgpu.embedding.preprocess import Preprocess, ResizeMode

SIDE, BATCH = 224, 64
TIMES = 6  # FFCV is fast: so that its threads do more than start
MOST = 3.0  # levels that two ways to decode and resize may differ by, on average
TRANSFORM = v2.Compose([v2.Resize(SIDE, InterpolationMode.BICUBIC), v2.CenterCrop(SIDE), v2.PILToTensor()])
PREPROCESS = Preprocess((SIDE, SIDE), (0.0,) * 3, (1.0,) * 3, InterpolationMode.BICUBIC, ResizeMode.SHORTEST)

Reader = Callable[[], Iterator[Tensor]]  # of batches (b, 3, SIDE, SIDE) uint8


@dataclass(frozen=True)
class Format:
    """A data set on disk: what wrote it, how fdgpu opens it, and its own reader."""

    name: str
    writer: str
    images: Callable[[], object]
    reader: Reader
    own: str
    times: int = 1  # that each photograph is in it


@dataclass(frozen=True)
class Row:
    """Images a second, medians; ``ratio`` is None where the pixels differ."""

    format: str
    writer: str
    fdgpu: float
    own_reader: str
    own: float
    ratio: float | None
    difference: float


class Rows(Dataset[Tensor]):
    """Rows that one function opens: what a user writes around a format that has no loader."""

    def __init__(self, count: int, opened: Callable[[int], Image.Image]) -> None:
        self.count, self.opened = count, opened

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Tensor:
        made: Tensor = TRANSFORM(self.opened(row).convert("RGB"))
        return made


def of_rows(count: int, opened: Callable[[int], Image.Image]) -> Reader:
    """Return a DataLoader with a worker a core; they are started once, before any is timed."""
    loader = DataLoader(Rows(count, opened), BATCH, num_workers=cpu_count(), persistent_workers=True)
    return lambda: iter(loader)


def photographs(count: int) -> list[bytes]:
    """Return JPEGs of 500 x 375 with the spectrum of noise at several scales."""
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        layers = [
            np.asarray(Image.fromarray(rng.integers(0, 256, (375 // s, 500 // s, 3), np.uint8)).resize((500, 375), 3))
            for s in (8, 32, 90)
        ]
        stream = io.BytesIO()
        Image.fromarray(np.mean(layers, 0).astype(np.uint8)).save(stream, "JPEG", quality=90)
        made.append(stream.getvalue())
    return made


def formats(folder: Path, jpegs: Sequence[bytes]) -> Iterator[Format]:
    """Write the photographs in every format whose library is here."""
    from datasets import Dataset as HubDataset
    from datasets import Features, load_from_disk
    from datasets import Image as HubImage
    from webdataset import ShardWriter, WebDataset

    n, names = len(jpegs), [f"{i:05}.jpg" for i in range(len(jpegs))]

    (folder / "files").mkdir()
    for name, content in zip(names, jpegs, strict=True):
        (folder / "files" / name).write_bytes(content)
    files = of_rows(n, lambda row: Image.open(folder / "files" / names[row]))
    yield Format("folder", "files", lambda: folder / "files", files, "Pillow, DataLoader")

    rows = {"image": [{"bytes": one, "path": name} for one, name in zip(jpegs, names, strict=True)]}
    HubDataset.from_dict(rows, features=Features({"image": HubImage()})).save_to_disk(folder / "hub")
    hub = load_from_disk(folder / "hub")
    yield Format(
        "datasets", "save_to_disk", lambda: hub, of_rows(n, lambda row: hub[row]["image"]), "itself, DataLoader"
    )

    pq.write_table(pa.table({"path": names, "image": list(jpegs)}), folder / "images.parquet", row_group_size=100)
    column = pq.read_table(folder / "images.parquet").column("image").combine_chunks()
    opened = of_rows(n, lambda row: Image.open(io.BytesIO(column[row].as_py())))
    yield Format("Parquet", "pyarrow", lambda: folder / "images.parquet", opened, "pyarrow, DataLoader")

    with ShardWriter(str(folder / "part-%03d.tar"), maxcount=-(-n // 4), verbose=0) as writer:
        for name, content in zip(names, jpegs, strict=True):
            writer.write({"__key__": name.removesuffix(".jpg"), "jpg": content})
    shards = str(folder / "part-{000..003}.tar")

    tar: IterableDataset[Any] = WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg")
    transformed = tar.map_tuple(TRANSFORM).map(lambda one: one[0])  # type: ignore[attr-defined]
    loaded = DataLoader(transformed, BATCH, num_workers=cpu_count(), persistent_workers=True)
    yield Format("tar shards", "webdataset", lambda: shards, lambda: iter(loaded), "webdataset, DataLoader")

    with ZipFile(folder / "images.zip", "w") as file:
        for name, content in zip(names, jpegs, strict=True):
            file.writestr(name, content)

    def of_zip(row: int) -> Image.Image:
        with ZipFile(folder / "images.zip") as held:
            return Image.open(io.BytesIO(held.read(names[row])))

    yield Format("zip", "zipfile", lambda: folder / "images.zip", of_rows(n, of_zip), "zipfile, DataLoader")
    if find_spec("ffcv"):
        yield from of_ffcv(folder, jpegs)


def of_ffcv(folder: Path, jpegs: Sequence[bytes]) -> Iterator[Format]:
    """Write the photographs with FFCV, at most 256 pixels high and wide, as its users do."""
    from ffcv.fields import RGBImageField
    from ffcv.fields.decoders import CenterCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter

    path = folder / "images.beton"
    field = RGBImageField(write_mode="jpg", max_resolution=256)
    pictures = [(Image.open(io.BytesIO(one)).convert("RGB"),) for one in [*jpegs] * TIMES]
    DatasetWriter(str(path), {"image": field}, num_workers=1).from_indexed_dataset(pictures)
    steps = [CenterCropRGBImageDecoder((SIDE, SIDE), 1.0), ToTensor(), ToTorchImage()]
    loader = Loader(
        str(path), batch_size=BATCH, num_workers=cpu_count(), order=OrderOption.SEQUENTIAL, drop_last=False,
        pipelines={"image": steps},
    )  # fmt: skip

    def alone() -> Iterator[Tensor]:
        return (batch[0] for batch in loader)

    yield Format(".beton", "FFCV", lambda: path, alone, "FFCV's Loader", TIMES)
    yield Format("FFCV's Loader", "FFCV", lambda: loader, alone, "FFCV's Loader", TIMES)


def through_fdgpu(images: Callable[[], object]) -> Reader:
    """Return batches of a source, in the model's size."""
    return lambda: (batch.pixels for batch in image_source(images()).batches(BATCH, PREPROCESS.resize))


def rate(reader: Reader, count: int) -> float:
    """Return images a second."""
    start = time.perf_counter()
    if sum(len(batch) for batch in reader()) != count:
        raise RuntimeError("a reader gave another number of images than were written")
    return count / (time.perf_counter() - start)


def in_one_order(images: Tensor) -> Tensor:
    """Return images by their mean: the workers of a DataLoader take turns at shards."""
    return images[images.mean((1, 2, 3)).argsort()]


def apart(images: Tensor, others: Tensor) -> float:
    """Return how many levels two readers' pixels differ by, on average."""
    return float((images - others).abs().mean())


def measure(one: Format, count: int, repeats: int) -> Row:
    """Compare the pixels, then the time, in rounds that alternate."""
    ours = through_fdgpu(one.images)
    mine, theirs = (torch.cat([batch.clone() for batch in reader()]).float() for reader in (ours, one.reader))
    difference = min(apart(mine, theirs), apart(in_one_order(mine), in_one_order(theirs)))
    rates = [(rate(ours, count), rate(one.reader, count)) for _ in range(repeats)]
    fdgpu, own = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(a / b for a, b in rates) if difference <= MOST else None
    return Row(one.name, one.writer, fdgpu, one.own, own, ratio, difference)


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table."""
    made = Table("format", "written by", "fdgpu, images/s", "its own reader", "images/s", "ratio", "pixels differ by")
    for row in rows:
        ratio = "the pixels differ" if row.ratio is None else f"{row.ratio:.2f}"
        made.add_row(
            row.format, row.writer, f"{row.fdgpu:.0f}", row.own_reader, f"{row.own:.0f}", ratio, f"{row.difference:.2f}"
        )
    return made


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments, console, about = parser.parse_args(argv), Console(width=160), machine()
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files to the collector
    with tempfile.TemporaryDirectory() as folder:
        made = formats(Path(folder), photographs(arguments.images))
        rows = []
        for one in made:
            console.print(f"{one.name} …")
            rows.append(measure(one, arguments.images * one.times, arguments.repeats))
    console.print(table(rows))
    if arguments.write:
        store("sources", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
