"""Tables in memory and Parquet: the columns of a CSV, and scores of every class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.auditing.columns.tables import read_frame
from fdgpu.errors import InputError

WHOLE = {
    "filename": ["a.png", "b.png", "c.png"],
    "target": ["cat", "dog", "cat"],
    "guess": ["cat", "cat", "dog"],
    "split": ["val", "test", "train"],
    "confidence": [0.9, 0.75, 0.5],
    "true_probability": [0.9, 0.25, 0.375],
    "note": [[1], [2], [3]],
}
COLUMNS = {"prediction": "guess"}


def lists(table) -> tuple:
    probabilities = (table.confidence, table.true_probability)
    return table.paths, table.labels, table.predictions, table.splits, *probabilities


@pytest.mark.parametrize("kind", ["parquet", "csv", "pandas", "polars", "arrow"])
def test_every_form_is_read_alike(kind: str, tmp_path: Path) -> None:
    frame = pa.table(WHOLE)
    if kind == "parquet":
        pq.write_table(frame, tmp_path / "predictions.parquet", row_group_size=2)
        table = read_predictions(tmp_path / "predictions.parquet", COLUMNS)
    elif kind == "csv":
        frame.drop(["note"]).to_pandas().to_csv(tmp_path / "predictions.csv", index=False)
        table = read_predictions(tmp_path / "predictions.csv", COLUMNS)
    else:
        made = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.table}[kind](WHOLE)
        table = read_frame(made, COLUMNS)
    assert lists(table) == (
        WHOLE["filename"], WHOLE["target"], WHOLE["guess"], WHOLE["split"], WHOLE["confidence"],
        WHOLE["true_probability"],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "csv", "arrow"])
def test_columns_that_are_not_there_are_named(kind: str, tmp_path: Path) -> None:
    def read(columns: object) -> object:
        frame = pa.table(WHOLE).drop(["note"])
        if kind == "arrow":
            return read_frame(frame, columns)  # type: ignore[arg-type]
        path = tmp_path / f"predictions.{kind}"
        pq.write_table(frame, path) if kind == "parquet" else frame.to_pandas().to_csv(path, index=False)
        return read_predictions(path, columns)  # type: ignore[arg-type]

    with pytest.raises(
        InputError, match=r"'prediction' is missing, the header is 'filename.*: call it one of prediction"
    ):
        read(None)
    with pytest.raises(
        InputError, match=r"the column 'guessed', the prediction by columns, is missing.*: correct columns"
    ):
        read({"prediction": "guessed"})
    with pytest.raises(InputError, match="the column 'sure', the confidence by columns, is missing"):
        read({"prediction": "guess", "confidence": "sure"})
    with pytest.raises(InputError, match="columns names 'answer', which is none of ours: path, label"):
        read({"answer": "guess"})
    for odd in ("prediction=guess", {"prediction": 3}, ["guess"]):
        with pytest.raises(InputError, match=r"columns is .*: map names of ours to names of the table's"):
            read(odd)


def test_a_mapped_column_is_taken_where_another_has_our_name() -> None:
    table = read_frame(pa.table(WHOLE | {"label": ["x", "y", "z"]}), COLUMNS | {"label": "target"})
    assert table.labels == WHOLE["target"]


@pytest.mark.parametrize("name", ["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["list", "fixed", "pandas", "polars"])
def test_scores_stand_for_predictions(name: str, kind: str, tmp_path: Path) -> None:
    scores = [[0.75, 0.25], [0.5, 0.5], [0.125, 0.875]]
    plain = {"path": WHOLE["filename"], "label": [0, 1, 1]}
    if kind == "pandas":
        table = read_frame(pd.DataFrame(plain | {name: [np.array(row) for row in scores]}))
    elif kind == "polars":
        table = read_frame(pl.DataFrame(plain | {name: scores}))
    else:
        column = pa.array(scores, pa.list_(pa.float32(), 2) if kind == "fixed" else pa.list_(pa.float32()))
        pq.write_table(pa.table(plain | {name: column}), tmp_path / "scores.parquet")
        table = read_predictions(tmp_path / "scores.parquet")
    assert table.predictions is None
    assert table.answers.to_pylist() == scores
    assert table.splits == ["val"] * 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"logits": ["0.1 0.2", "0.3 0.4", ""]},
            "has logits of type string: pass a list of numbers a row, one a class",
        ),
        ({"logits": [[0.1, 0.2], None, [0.3, 0.4]]}, "row 1: logits is empty"),
        ({"guess": [[1], [2], [3]]}, "has prediction of type list"),
        ({"true_probability": [0.5, 0.5, 1.5]}, "row 2: true_probability is 1.5, expected a number from 0 to 1"),
        ({"true_probability": [0.5, None, 0.5]}, "row 1: true_probability is nan"),
    ],
)
def test_a_mistake_is_named_with_its_row(columns: dict, message: str, tmp_path: Path) -> None:
    frame = pa.table(WHOLE | columns)
    with pytest.raises(InputError, match=f"labels, .*{message}"):
        read_frame(frame, COLUMNS)
    pq.write_table(frame, tmp_path / "own.parquet")
    with pytest.raises(InputError, match=f"own.parquet, .*{message}"):
        read_predictions(tmp_path / "own.parquet", COLUMNS)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    pq.write_table(pa.table(WHOLE), tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut.parquet cannot be read as Parquet \(.*\): write it anew"):
        read_predictions(tmp_path / "cut.parquet", COLUMNS)


def test_what_a_model_is_still_to_answer_needs_no_prediction(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.png,cat\nb.png,dog\n")
    table = read_predictions(tmp_path / "labels.csv", needed=("path", "label"))
    assert (table.labels, table.predictions, table.answers, table.splits) == (["cat", "dog"], None, None, ["val"] * 2)
