"""Audits of data sets as they are: labels, splits and names come with the images, and columns are joined to them."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDatasetDict
from datasets import Image as ImageFeature
from PIL import Image

import fdgpu

pytestmark = pytest.mark.filterwarnings("ignore::fdgpu.errors.FdgpuWarning")
N = 24
NAMES = ["cat", "dog"]
LABELS = [i % 2 for i in range(N)]
PREDICTIONS = [1 - i % 2 if i % 5 == 0 else i % 2 for i in range(N)]
SPLITS = ["val"] * 16 + ["test"] * 8
FEATURES = Features({"img": ImageFeature(), "label": ClassLabel(names=NAMES)})


def picture(i: int) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


def splits() -> DatasetDict:
    def part(rows: range) -> Dataset:
        images = [{"bytes": picture(i), "path": None} for i in rows]
        return Dataset.from_dict({"img": images, "label": [LABELS[i] for i in rows]}, features=FEATURES)

    return DatasetDict({"validation": part(range(16)), "test": part(range(16, N))})


def frame() -> pd.DataFrame:
    images = [picture(i) for i in range(N)]
    return pd.DataFrame({"id": [f"{i}.png" for i in range(N)], "image": images, "label": LABELS, "split": SPLITS})


def by_split() -> pd.DataFrame:
    """Columns by the ids that images of several splits have, in another order."""
    ids = [f"val/{i}" for i in range(16)] + [f"test/{i}" for i in range(N - 16)]
    names = [[NAMES[one] for one in column] for column in (LABELS, PREDICTIONS)]
    return pd.DataFrame({"path": ids, "label": names[0], "prediction": names[1]})[::-1]


def zipped(folder: Path) -> Path:
    with ZipFile(folder / "images.zip", "w") as file:
        for i in reversed(range(N)):
            file.writestr(f"{i}.png", picture(i))
    return folder / "images.zip"


def shard(folder: Path) -> Path:
    with tarfile.open(folder / "images.tar", "w") as file:
        for i in reversed(range(N)):
            about = tarfile.TarInfo(f"{i}.png")
            about.size = len(picture(i))
            file.addfile(about, io.BytesIO(picture(i)))
    return folder / "images.tar"


def by_name(column: list[int]) -> dict[str, str]:
    return {f"{i}.png": NAMES[k] for i, k in enumerate(column)}


def case(name: str, folder: Path) -> tuple[object, dict[str, object]]:
    joined = {"labels": by_name(LABELS), "predictions": by_name(PREDICTIONS)}
    named = {**joined, "splits": {f"{i}.png": split for i, split in enumerate(SPLITS)}}
    streamed = IterableDatasetDict({split: part.to_iterable_dataset() for split, part in splits().items()})
    return {
        "a DatasetDict": (splits(), {"predictions": PREDICTIONS}),
        "a DatasetDict beside labels": (splits(), {"labels": LABELS, "predictions": PREDICTIONS}),
        "a DatasetDict beside a table without splits": (splits(), {"labels": by_split()}),
        "streamed splits beside a table without splits": (streamed, {"labels": by_split()}),
        "streamed splits": (streamed, {"predictions": PREDICTIONS}),
        "streamed splits beside labels": (streamed, {"labels": LABELS, "predictions": PREDICTIONS}),
        "a frame": (frame(), {"predictions": PREDICTIONS, "class_names": NAMES}),
        "a frame joined by id": (frame().drop(columns=["label", "split"]), named),
        "a zip file": (zipped(folder), named),
        "a tar by its path as text": (str(shard(folder)), named),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "a DatasetDict", "a DatasetDict beside labels", "streamed splits", "streamed splits beside labels", "a frame",
        "a frame joined by id", "a zip file", "a tar by its path as text",
        "a DatasetDict beside a table without splits", "streamed splits beside a table without splits",
    ],
)  # fmt: skip
def test_what_comes_with_the_images_reaches_the_findings(name: str, tmp_path: Path) -> None:
    images, columns = case(name, tmp_path)
    found = fdgpu.audit(images, embedder=fdgpu.ClipEmbedder.bundled("cpu"), **columns).findings
    assert [one.name for one in found.classes] == NAMES
    assert {split: n for split, n in found.n_images.items() if n} == dict(Counter(SPLITS))
    assert sum(one.n_errors for one in found.classes) == sum(
        one != two for one, two in zip(LABELS[:16], PREDICTIONS[:16], strict=True)
    )
    assert not [note for note in found.notes if "could not be" in note]
