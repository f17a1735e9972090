"""A generated miniature in ImageNet's layout: few classes, small JPEGs, and a classifier's answers with a failure.

Each class has a pattern of its own. On a third of its pictures the background is dark, and most answers to these are
wrong.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.imagenet_scale.layout import SPLITS, share, wnids
from fdgpu.embedding.beton import FIELD, HEADER, IMAGE, JPEG, METADATA, NUMBER, PIECE, PIXELS, VERSION

HARD = 3  # every so-manieth picture of a class has a dark background
WRONG = {True: 0.8, False: 0.1}  # how often the answer is wrong: on a dark background, and elsewhere
TARS = 2  # of a split
PAGE = 1 << 21  # bytes, FFCV's smallest


@dataclass(frozen=True)
class Miniature:
    """How many classes, and images of each; ``side`` is the height of a picture in pixels."""

    classes: int = 10
    train: int = 60
    val: int = 50
    side: int = 96
    seed: int = 0

    def pictures(self, split: str) -> Iterator[Picture]:
        """Yield the pictures of a split, class by class; a seed draws the same in every form."""
        chosen = share(self.classes / len(wnids()))
        for k, wnid in enumerate(chosen):
            for i in range(self.train if split == "train" else self.val):
                rng = np.random.default_rng([self.seed, SPLITS.index(split), k, i])
                hard = i % HARD == 0
                wrong = rng.random() < WRONG[hard]
                said = chosen[(k + 1) % len(chosen)] if wrong else wnid
                number = k * self.val + i + 1
                name = f"{wnid}_{i + 1}" if split == "train" else f"ILSVRC2012_val_{number:08d}"
                yield Picture(wnid, name, said, _jpeg(rng, k, hard, self.side))


@dataclass(frozen=True)
class Picture:
    """One image: its class, its name without a suffix, what the classifier said, and its JPEG."""

    wnid: str
    name: str
    said: str
    jpeg: bytes


def generate(place: Path, of: Miniature) -> None:
    """Write ``place/folder``, ``place/tar`` and ``place/beton``, and in each ``predictions.csv``."""
    drawn = {split: list(of.pictures(split)) for split in SPLITS}
    for form, write in {"folder": _folder, "tar": _tar, "beton": _beton}.items():
        (place / form).mkdir(parents=True)
        with (place / form / "predictions.csv").open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream)
            table.writerow(("path", "label", "prediction", "split"))
            for split, pictures in drawn.items():
                ids = write(place / form, split, pictures)
                table.writerows(
                    (f"{split}/{own}", one.wnid, one.said, split) for own, one in zip(ids, pictures, strict=True)
                )


def _folder(place: Path, split: str, pictures: Sequence[Picture]) -> list[str]:
    ids = []
    for one in pictures:
        path = place / split / one.wnid / f"{one.name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.jpeg)
        ids.append(path.relative_to(place / split).as_posix())
    return ids


def _tar(place: Path, split: str, pictures: Sequence[Picture]) -> list[str]:
    ids, size = [], -(-len(pictures) // TARS)
    for shard in range(TARS):
        with tarfile.open(place / f"{split}-{shard:06d}.tar", "w") as tar:
            for one in pictures[shard * size : (shard + 1) * size]:
                for suffix, content in (("jpg", one.jpeg), ("cls", str(wnids().index(one.wnid)).encode())):
                    member = tarfile.TarInfo(f"{one.name}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                ids.append(f"{one.name}.jpg")
    return ids


def _beton(place: Path, split: str, pictures: Sequence[Picture]) -> list[str]:
    """Write FFCV's second version: a header, two fields, a row a sample, JPEGs in pages, and the table of these."""
    fields = np.zeros(2, FIELD)
    for field, kind, name in zip(fields, (PIXELS, NUMBER), (b"image", b"label"), strict=True):
        field["kind"] = kind
        field["name"][: len(name)] = np.frombuffer(name, np.uint8)
    rows = np.zeros(len(pictures), np.dtype([("f0", METADATA[PIXELS]), ("f1", METADATA[NUMBER])], align=True))
    pieces = np.zeros(len(pictures), PIECE)
    at = _paged(HEADER.itemsize + fields.nbytes + rows.nbytes)
    for i, one in enumerate(pictures):
        if at // PAGE != (at + len(one.jpeg) - 1) // PAGE:  # a piece lies in one page
            at = _paged(at)
        with Image.open(io.BytesIO(one.jpeg)) as image:
            rows["f0"][i] = np.array((JPEG, *image.size, at), IMAGE)
        rows["f1"][i] = wnids().index(one.wnid)
        pieces[i] = (i, at, len(one.jpeg))
        at += len(one.jpeg)
    table = _paged(at)
    header = np.array((VERSION, len(fields), PAGE, len(rows), table), HEADER)
    with (place / f"{split}.beton").open("wb") as stream:
        stream.write(header.tobytes() + fields.tobytes() + rows.tobytes())
        for piece, one in zip(pieces, pictures, strict=True):
            stream.seek(int(piece["start"]))
            stream.write(one.jpeg)
        stream.seek(table)
        stream.write(pieces.tobytes())
    return [str(i) for i in range(len(pictures))]


def _paged(at: int) -> int:
    """Return where the next page begins."""
    return -(-at // PAGE) * PAGE


def _jpeg(rng: np.random.Generator, k: int, hard: bool, side: int) -> bytes:
    """Draw stripes in the class's colour and direction on a light or dark background, with noise."""
    colour = np.random.default_rng(k).integers(40, 216, 3)
    y, x = np.mgrid[: side - int(rng.integers(0, side // 4)), :side]
    angle = np.pi * k / 7 + rng.normal(0, 0.05)
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 24 / side + rng.uniform(0, 6)) > 0.2
    background = np.full(3, 25 if hard else 230) + rng.normal(0, 8, 3)
    pixels = np.where(stripes[..., None], colour, background) + rng.normal(0, 6, (*x.shape, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()
