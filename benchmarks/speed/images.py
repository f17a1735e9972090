"""Images a second from JPEG files to the model's input, beside what people run instead, by stage and whole.

    python -m benchmarks.speed.images [--images 128 8] [--repeats 5] [--write]

- Files: crops of two photographs at 500 x 375, and enlarged to 4000 x 3000 with grain; quality 90, no two the same.
- Peers: open_clip's transform in a pool of threads, in torch's DataLoader, and FFCV from a .beton of the same JPEGs,
  where it is installed.
- Stages and the rates "a core" are images a second of processor time of one thread: other work on the machine hardly
  moves them. Whole rates are by the clock on all cores. Rounds alternate; medians are printed, with the least and most.
- Each side's tensors go through ViT-B/32 (random weights): there is no ratio unless all vectors have a cosine of at
  least 0.9999 to those of open_clip's transform. FFCV crops otherwise, so that it has a rate and no ratio.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import open_clip
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.device import cpu_count
from fdgpu.embedding.image_file import read_picture
from fdgpu.embedding.loading import View, Written
from fdgpu.embedding.preprocess import Memory, Preprocess
from fdgpu.embedding.sources import FileSource

SIZES = ((500, 375), (4000, 3000))
BATCH = 64
LEAST_COSINE = 0.9999
OURS, REDUCED = "fdgpu", "fdgpu, reduced decoding"
THREADS, LOADER = "open_clip's transform, threads", "open_clip's transform, DataLoader"


@dataclass(frozen=True)
class Row:
    """One line: images a second, the median and the range of its rounds.

    ``cosine`` is the least of a vector to that of open_clip's transform; ``ratio`` is to open_clip's rate of this kind.
    """

    size: str
    line: str
    kind: str  # "stage", "a core" or "all cores"
    rate: float
    least: float
    most: float
    cosine: float | None = None
    ratio: float | None = None


def photographs(folder: Path, size: tuple[int, int], n: int) -> list[Path]:
    """Write ``n`` JPEGs."""
    rng, sources = np.random.default_rng(0), [Image.fromarray(image) for image in load_sample_images().images]
    paths = [folder / f"{size[0]}-{i:04d}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        whole = sources[i % len(sources)]
        left, top = (int(rng.integers(space + 1)) for space in (whole.width - 500, whole.height - 375))
        image = whole.crop((left, top, left + 500, top + 375))
        if size != image.size:
            pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC)).astype(np.float32)
            pixels += rng.normal(0, 4, (*size[::-1], 1)).astype(np.float32)
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(path, quality=90)
    return paths


class Transformed(Dataset[Tensor]):
    """open_clip's transform of files."""

    def __init__(self, paths: Sequence[Path], transform: Callable[[Image.Image], Tensor]) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(self.paths[index]))


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch compute with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Comparison:
    """One size of files: every way from them to the input of a model."""

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        model = open_clip.create_model("ViT-B-32", None, load_weights=False).eval()
        self.model, self.paths, self.folder = model, list(paths), folder
        self.preprocess, self.memory = Preprocess.of_model(model.visual.preprocess_cfg), Memory()
        cfg = model.visual.preprocess_cfg
        self.transform = open_clip.image_transform(
            cfg["size"], is_train=False, mean=cfg["mean"], std=cfg["std"], resize_mode=cfg["resize_mode"]
        )

    def ours(self, smallest: int | None = None) -> Iterator[Tensor]:
        """Go the way of an embedder: decoded by threads, normalised by batches."""
        source = FileSource(self.paths, [path.name for path in self.paths])
        for batch in source.batches(BATCH, View(self.preprocess.resize, smallest=smallest)):
            yield self.preprocess.normalise(batch.pixels, torch.float32, self.memory.of(batch.pixels))

    def by_threads(self, threads: int) -> Iterator[Tensor]:
        """Go through open_clip's transform in a pool."""
        with one_thread(), ThreadPoolExecutor(threads) as pool:
            data = Transformed(self.paths, self.transform)
            for start in range(0, len(data), BATCH):
                rows = range(start, min(start + BATCH, len(data)))
                yield torch.stack(list(pool.map(data.__getitem__, rows)))

    def by_loader(self) -> Iterator[Tensor]:
        """Go through open_clip's transform in processes."""
        return iter(DataLoader(Transformed(self.paths, self.transform), BATCH, num_workers=cpu_count()))

    def by_ffcv(self) -> Callable[[], Iterator[Tensor]]:
        """Write a .beton of the same JPEGs, which is not timed, and go through FFCV's loader."""
        from ffcv.fields import RGBImageField
        from ffcv.fields.rgb_image import CenterCropRGBImageDecoder
        from ffcv.loader import Loader, OrderOption
        from ffcv.transforms import ToTensor, ToTorchImage
        from ffcv.writer import DatasetWriter

        beton = self.folder / f"{self.paths[0].stem}.beton"
        field = RGBImageField(write_mode="jpg", jpeg_quality=90)
        DatasetWriter(str(beton), {"image": field}, num_workers=1).from_indexed_dataset(_Opened(self.paths))
        pipeline = [CenterCropRGBImageDecoder(self.preprocess.size, 1.0), ToTensor(), ToTorchImage()]
        loader = Loader(
            str(beton), BATCH, num_workers=cpu_count(), order=OrderOption.SEQUENTIAL, pipelines={"image": pipeline}
        )
        return lambda: (self.preprocess.normalise(images, torch.float32) for (images,) in loader)

    def cosine(self, batches: Iterator[Tensor]) -> float:
        """Return the least cosine of a vector to that by open_clip's transform."""
        return float((self._vectors(batches) * self._vectors(self.by_threads(cpu_count()))).sum(1).min())

    @torch.inference_mode()
    def _vectors(self, batches: Iterator[Tensor]) -> Tensor:
        return torch.cat([F.normalize(self.model.encode_image(batch), dim=1) for batch in batches])

    def stages(self) -> dict[str, Callable[[], object]]:
        """Return what is timed for itself, on all files, in one thread."""
        contents = [path.read_bytes() for path in self.paths[:BATCH]]
        pixels = [read_picture(content).pixels for content in contents]
        sized = [self.preprocess.resize(one) for one in pixels]
        opened = [Image.fromarray(one.movedim(0, -1).numpy()) for one in pixels]
        batch = torch.stack(sized)

        def write() -> None:
            written = Written(len(sized), 1)
            for row, one in enumerate(sized):
                written.put(row, (one,))
            whole = written.whole(0, range(len(sized)), sized)
            self.preprocess.normalise(whole, torch.float32, self.memory.of(whole))

        @torch.inference_mode()
        def embed() -> None:
            self.model.encode_image(self.preprocess.normalise(batch, torch.float32))

        return {
            "read": lambda: [path.read_bytes() for path in self.paths[:BATCH]],
            "decode": lambda: [read_picture(content) for content in contents],
            "decode (PIL)": lambda: [Image.open(path).convert("RGB") for path in self.paths[:BATCH]],
            "resize and crop": lambda: [self.preprocess.resize(one) for one in pixels],
            "open_clip's transform of a decoded image": lambda: [self.transform(one) for one in opened],
            "write the batch, normalise": write,
            "embed (ViT-B/32)": embed,
        }


class _Opened(Dataset[tuple[Image.Image]]):
    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image]:
        return (Image.open(self.paths[index]).convert("RGB"),)


@contextmanager
def on_one_core() -> Iterator[None]:
    """Run on one core: threads that are started here inherit that, and fdgpu opens as many as there are cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with one_thread():
            yield
    finally:
        os.sched_setaffinity(0, allowed)


def rounds(
    work: dict[str, Callable[[], object]], n: int, repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Return the images a second of each round; rounds alternate, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for count in range(repeats + 1):
        for name, run in work.items():
            start = clock()
            run()
            if count:
                found[name].append(n / (clock() - start))
    return found


def measure(size: tuple[int, int], n: int, repeats: int, folder: Path) -> list[Row]:
    """Time every stage and every way for files of one size."""
    named = f"{size[0]} x {size[1]}"
    compared = Comparison(photographs(folder, size, n), folder)
    smallest = compared.preprocess.smallest

    def drained(batches: Callable[[], Iterator[Tensor]]) -> Callable[[], object]:
        return lambda: sum(len(batch) for batch in batches())

    def rows(kind: str, found: dict[str, list[float]], cosines: Mapping[str, float]) -> list[Row]:
        theirs = found.get(THREADS)
        made = []
        for name, rates in found.items():
            cosine = cosines.get(name)
            equal = theirs and cosine is not None and cosine >= LEAST_COSINE
            ratio = statistics.median(rates) / statistics.median(theirs) if theirs and equal else None
            made.append(Row(named, name, kind, statistics.median(rates), min(rates), max(rates), cosine, ratio))
        return made

    whole: dict[str, Callable[[], Iterator[Tensor]]] = {OURS: compared.ours}
    if min(size) >= 2 * smallest:
        whole[REDUCED] = partial(compared.ours, smallest)
    cosines = {name: compared.cosine(batches()) for name, batches in whole.items()}
    with on_one_core():
        stages = rounds(compared.stages(), min(n, BATCH), repeats, time.process_time)
        one: dict[str, Callable[[], Iterator[Tensor]]] = {**whole, THREADS: partial(compared.by_threads, 1)}
        a_core = rounds({name: drained(batches) for name, batches in one.items()}, n, repeats, time.process_time)
    every: dict[str, Callable[[], Iterator[Tensor]]] = {**whole, THREADS: partial(compared.by_threads, cpu_count())}
    every[LOADER] = compared.by_loader
    if importlib.util.find_spec("ffcv"):
        every["FFCV"] = compared.by_ffcv()
    all_cores = rounds({name: drained(batches) for name, batches in every.items()}, n, repeats, time.perf_counter)
    return rows("stage", stages, {}) + rows("a core", a_core, cosines) + rows("all cores", all_cores, cosines)


def show(rows: Sequence[Row], about: Mapping[str, str]) -> None:
    """Print the machine and the table."""
    console = Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    if not importlib.util.find_spec("ffcv"):
        console.print("FFCV is not installed")
    table = Table("files", "what", "images a second of", "median", "least to most", "least cosine", "x open_clip")
    for row in rows:
        differ = row.cosine is not None and row.cosine < LEAST_COSINE
        table.add_row(
            row.size,
            row.line,
            row.kind,
            f"{row.rate:,.1f}",
            f"{row.least:,.1f} to {row.most:,.1f}",
            "" if row.cosine is None else f"{row.cosine:.6f}",
            "vectors differ" if differ else "" if row.ratio is None else f"{row.ratio:.2f}x",
        )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=[128, 8], metavar="N", help="small and large files")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args(argv)
    about = machine()
    load = f"{os.getloadavg()[0]:.1f}"
    rows: list[Row] = []
    torch.manual_seed(0)
    for size, n in zip(SIZES, arguments.images, strict=True):
        with TemporaryDirectory() as folder:
            rows += measure(size, n, arguments.repeats, Path(folder))
    about["load before"] = load
    show(rows, about)
    if arguments.write:
        store("images", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
