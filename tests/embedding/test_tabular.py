"""Tables with a column of images, each written by its own library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, IterableDataset, List, Value, load_from_disk
from datasets import Image as ImageFeature

from fdgpu.embedding import image_source, table_source
from fdgpu.errors import InputError
from tests.embedding.greys import encoded, grey, seen, shown

LEVELS = [10, 60, 110, 160]
NAMES = ["cat", "dog"]
FEATURES = Features({"img": ImageFeature(), "label": ClassLabel(names=NAMES)})
POSITIONS = [(str(i), level, i % 2, None) for i, level in enumerate(LEVELS)]
NAMED = [(f"{i}.png", level, i % 2, None) for i, level in enumerate(LEVELS)]


def dataset(named: bool = False) -> Dataset:
    images = [{"bytes": encoded(level), "path": f"{i}.png"} if named else grey(level) for i, level in enumerate(LEVELS)]
    return Dataset.from_dict({"img": images, "label": [0, 1, 0, 1]}, features=FEATURES)


@pytest.mark.parametrize(("named", "told"), [(False, POSITIONS), (True, NAMED)])
def test_a_hugging_face_data_set(named: bool, told: list[object], tmp_path: Path) -> None:
    dataset(named).save_to_disk(tmp_path / "saved")
    source = image_source(load_from_disk(tmp_path / "saved"))
    assert source.count == 4
    assert source.class_names == ("cat", "dog")
    assert source.ids == [own for own, *_ in told]
    assert source.labels == [0, 1, 0, 1]
    assert seen(source) == told
    assert shown(source, 3, 0) == [160, 10]


def test_rows_that_were_chosen_come_in_their_order() -> None:
    source = image_source(dataset(named=True).select([3, 0]))
    assert seen(source) == [NAMED[3], NAMED[0]]
    assert shown(source, 1) == [10]


def test_a_data_set_of_files(tmp_path: Path) -> None:
    for i, level in enumerate(LEVELS):
        grey(level).save(tmp_path / f"{i}.png")
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    source = image_source(Dataset.from_dict({"img": paths, "label": [0, 1, 0, 1]}, features=FEATURES))
    assert seen(source) == [(path, *rest) for path, (_, *rest) in zip(paths, POSITIONS, strict=True)]


def test_splits_of_a_data_set() -> None:
    source = image_source(DatasetDict({"train": dataset(), "validation": dataset(named=True)}))
    told = [("train/" + own, level, label, "train") for own, level, label, _ in POSITIONS]
    told += [("val/" + own, level, label, "val") for own, level, label, _ in NAMED]
    assert seen(source) == told
    assert source.class_names == ("cat", "dog")
    assert shown(source, 5, 2) == [60, 110]


def test_a_streamed_data_set_is_gone_through_again() -> None:
    source = image_source(dataset(named=True).to_iterable_dataset())
    assert (source.count, source.class_names) == (None, ("cat", "dog"))
    assert seen(source) == NAMED
    assert shown(source, 2, 9) == [110, None]


def test_a_stream_that_says_nothing_of_its_columns() -> None:
    def rows():
        for i, level in enumerate(LEVELS):
            yield {"image": grey(level), "label": NAMES[i % 2]}

    source = image_source(IterableDataset.from_generator(rows))
    assert seen(source) == [(str(i), level, NAMES[i % 2], None) for i, level in enumerate(LEVELS)]
    assert shown(source, 1) == [60]


def test_the_transform_of_a_data_set_is_the_classifiers() -> None:
    def normalised(batch: dict[str, list[object]]) -> dict[str, list[torch.Tensor]]:
        return {"pixel_values": [torch.full((3, 2, 2), np.asarray(one).mean()) for one in batch["img"]]}

    source = image_source(dataset().with_transform(normalised))
    assert seen(source) == POSITIONS  # the images as they were before
    assert source.transform is not None
    assert source.transform(grey(60)).flatten().tolist() == [60.0] * 12


def test_lists_of_classes_are_one_of_zeros_and_ones() -> None:
    features = Features({"image": ImageFeature(), "labels": List(ClassLabel(names=["a", "b", "c"]))})
    rows = {"image": [grey(10), grey(60)], "labels": [[0, 2], []]}
    source = image_source(Dataset.from_dict(rows, features=features))
    assert [label for _, _, label, _ in seen(source)] == [[1, 0, 1], [0, 0, 0]]
    assert source.class_names == ("a", "b", "c")


def test_a_class_of_minus_one_is_no_label_and_an_empty_cell_no_image() -> None:
    rows = {"img": [grey(10), None, grey(60)], "label": [0, 1, -1]}
    source = image_source(Dataset.from_dict(rows, features=FEATURES))
    assert seen(source) == [("0", 10, 0, None), ("1", "is an empty cell of the table", 1, None), ("2", 60, None, None)]


def frame(kind: str, table: dict[str, list[object]]) -> object:
    return {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[kind](table)


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_a_frame_of_paths(kind: str, tmp_path: Path) -> None:
    paths = [f"{i}.png" for i in range(4)]
    for path, level in zip(paths, LEVELS, strict=True):
        grey(level).save(tmp_path / path)
    table = {"file_name": paths, "label": [NAMES[i % 2] for i in range(4)], "split": ["train", "val", "test", "val"]}
    source = table_source(frame(kind, table), root=tmp_path)
    rows = zip(paths, LEVELS, table["label"], table["split"], strict=True)
    assert seen(source) == list(rows)
    assert shown(source, 2, 1) == [110, 60]
    absolute = frame(kind, table | {"file_name": [str(tmp_path / path) for path in paths]})
    assert [level for _, level, _, _ in seen(image_source(absolute))] == LEVELS


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_a_frame_of_bytes(kind: str) -> None:
    table = {"id": ["w", "x", "y", "x"], "jpeg": [encoded(level) for level in LEVELS], "target": [3, 4, 3, 4]}
    source = image_source(frame(kind, table))
    assert seen(source) == [("w", 10, 3, None), ("x", 60, 4, None), ("y", 110, 3, None), ("x#3", 160, 4, None)]


def test_a_frame_of_pandas_with_path_objects_and_what_arrow_cannot_hold(tmp_path: Path) -> None:
    grey(60).save(tmp_path / "a.png")
    source = image_source(pd.DataFrame({"path": [tmp_path / "a.png"], "more": [object()], "label": ["cat"]}))
    assert seen(source) == [(str(tmp_path / "a.png"), 60, "cat", None)]


@pytest.mark.parametrize("writer", ["datasets", "pandas", "polars", "pyarrow"])
def test_parquet(writer: str, tmp_path: Path) -> None:
    path, names = tmp_path / "images.parquet", [f"{i}.png" for i in range(4)]
    table = {"file": names, "image": [encoded(level) for level in LEVELS], "label": [0, 1, 0, 1]}
    if writer == "datasets":
        dataset(named=True).to_parquet(path)
    elif writer == "pandas":
        pd.DataFrame(table).to_parquet(path)
    elif writer == "polars":
        pl.DataFrame(table).write_parquet(path)
    else:
        pq.write_table(pa.table(table), path, row_group_size=3)
    source = image_source(path)
    assert source.count == 4
    assert source.ids == names
    assert seen(source) == NAMED
    assert shown(source, 3, 0, 3) == [160, 10, 160]
    assert source.class_names == (("cat", "dog") if writer == "datasets" else None)


def test_parquet_of_many_rows_keeps_their_order(tmp_path: Path) -> None:
    for shard in range(2):
        names = [f"{shard}-{i}.png" for i in range(300)]
        images = [encoded((i * 7 + shard) % 256) for i in range(300)]
        pq.write_table(pa.table({"path": names, "image": images}), tmp_path / f"{shard}.parquet", row_group_size=100)
    source = image_source(str(tmp_path / "{0..1}.parquet"))
    assert [(own, level) for own, level, _, _ in seen(source)] == [
        (f"{shard}-{i}.png", (i * 7 + shard) % 256) for shard in range(2) for i in range(300)
    ]
    assert shown(source, 599, 301) == [(299 * 7 + 1) % 256, 8]


def test_columns_may_be_named() -> None:
    table = pa.table({
        "left": [encoded(10)], "right": [encoded(60)], "fine": ["cat"], "coarse": ["animal"], "fold": ["test"],
        "key": ["a"], "own": ["b"],
    })  # fmt: skip
    source = table_source(table, image="right", label="coarse", ids="own", split="fold")
    assert seen(source) == [("b", 60, "animal", "test")]


CIFAR = Features({"img": ImageFeature(), "fine": ClassLabel(names=NAMES), "coarse": ClassLabel(names=["x"])})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (pa.table({"a": [b"x"], "b": [b"y"]}), r"'a', 'b' can be the images: name one, as by .*image='a'"),
        (pa.table({"a": ["x"], "b": [1]}), r"no column holds images, among 'a', 'b'.*image='a'"),
        (
            Dataset.from_dict({"img": [grey(1)], "fine": [0], "coarse": [0]}, features=CIFAR),
            r"'fine', 'coarse' can be the label: name one, as by .*label='fine'",
        ),
        (pa.table({"image": pa.array([], pa.binary())}), "is a table without rows"),
        (
            Dataset.from_dict({"text": ["x"]}, features=Features({"text": Value("string")})),
            "no column holds images, among 'text'",
        ),
        (
            Dataset.from_dict({"a": [grey(1)], "b": [grey(1)]}, Features({"a": ImageFeature(), "b": ImageFeature()})),
            "'a', 'b' can be the images",
        ),
    ],
)  # fmt: skip
def test_tables_that_do_not_tell(data: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        image_source(data)


def test_a_column_that_is_not_there_and_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label is 'lable', and the table has the columns 'image'"):
        table_source(pa.table({"image": [b"x"]}), label="lable")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"cut.parquet cannot be read as Parquet .*copy the file again"):
        image_source(tmp_path / "cut.parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        image_source(tmp_path / "absent.parquet")
    with pytest.raises(InputError, match="no file is called"):
        image_source(str(tmp_path / "part-*.parquet"))
