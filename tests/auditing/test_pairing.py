"""Rows and images: joined by path, or by position where nobody can be wrong about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fdgpu
from fdgpu.auditing.columns.inputs import check_inputs
from fdgpu.auditing.columns.pairing import Paired, pair
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.auditing.columns.tables import read_frame
from fdgpu.embedding.sources import TensorSource
from fdgpu.errors import FdgpuWarning, InputError

NAMES = [f"{i}.png" for i in range(1, 13)]  # whose sorted listing is 1, 10, 11, 12, 2
LABELS = ["cat" if i % 3 else "dog" for i in range(12)]
GUESSES = ["cat" if i % 4 else "dog" for i in range(12)]
SURE = [i / 12 for i in range(12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "val").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(root / "val" / name)
    return root


def rows() -> dict[str, list[Any]]:
    order = np.random.default_rng(0).permutation(12)
    columns = {"path": [f"val/{name}" for name in NAMES], "label": LABELS, "prediction": GUESSES, "split": ["val"] * 12}
    columns |= {"confidence": SURE, "group": ["g", "", "h"] * 4}
    return {name: [column[i] for i in order] for name, column in columns.items()}


def given_columns(labels: Any, predictions: Any = None, **others: Any) -> dict[str, Any]:
    columns = dict.fromkeys(("splits", "confidence", "groups"))
    return {"labels": labels, "predictions": predictions, **columns, **others}


def by_path(paired: Paired) -> dict[str, tuple]:
    inputs = check_inputs(**paired.columns, class_names=None)
    names = [inputs.class_names[k] for k in inputs.labels], [inputs.class_names[k] for k in inputs.predictions]
    sure = SURE if inputs.confidence is None else inputs.confidence.tolist()
    return dict(zip([Path(one).name for one in paired.source.ids], zip(*names, sure, strict=True), strict=True))


EXPECTED = dict(zip(NAMES, zip(LABELS, GUESSES, SURE, strict=True), strict=True))


class Series:
    def __init__(self, entries: list[Any], of_objects: bool) -> None:
        self.entries, self.dtype = entries, "object" if of_objects else "of its own"

    def to_list(self) -> list[Any]:
        return list(map(Path, self.entries))


class Frame:
    """What a data frame of pandas or polars looks like from here."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.held, self.columns = columns, list(columns)

    def __getitem__(self, names: list[str] | str) -> Any:
        if isinstance(names, str):
            return Series(self.held[names], names == "path")
        return Frame({name: self.held[name] for name in names})

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.table(self.held).__arrow_c_stream__()


def as_csv(tmp_path: Path) -> Path:
    lines = [",".join(rows()), *(",".join(map(str, row)) for row in zip(*rows().values(), strict=True))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return tmp_path / "table.csv"


def mappings() -> dict[str, Any]:
    table = rows()
    paths = table["path"]
    return given_columns(
        dict(zip(paths, table["label"], strict=True)),
        dict(zip(map(Path, paths[::-1]), table["prediction"][::-1], strict=True)),
        confidence=dict(zip([f"./{path}" for path in paths], table["confidence"], strict=True)),
    )


@pytest.mark.parametrize("kind", ["csv", "str", "read", "pyarrow", "batch", "frame", "mapping"])
def test_a_folder_is_joined_by_path_whatever_the_order(folder: Path, tmp_path: Path, kind: str) -> None:
    path = as_csv(tmp_path)
    table = pa.table(rows())
    columns = {
        "csv": lambda: given_columns(path),
        "str": lambda: given_columns(str(path)),
        "read": lambda: given_columns(read_predictions(path)),
        "pyarrow": lambda: given_columns(table),
        "batch": lambda: given_columns(table.to_batches()[0]),
        "frame": lambda: given_columns(Frame(rows() | {"other": [object()] * 12})),
        "mapping": mappings,
    }[kind]()
    paired = pair(folder, columns)
    assert not paired.by_listing
    assert by_path(paired) == EXPECTED
    pictures = paired.source.pictures(range(12), 8)
    assert [20 * NAMES.index(Path(one).name) for one in paired.source.ids] == [int(one[0, 0, 0]) for one in pictures]
    groups = check_inputs(**paired.columns, class_names=None).groups
    if kind == "mapping":
        assert groups is None
    else:  # an empty group is one of its own
        sizes = dict(zip(paired.source.ids, np.bincount(groups)[groups], strict=True))
        assert [sizes[f"val/{name}"] for name in NAMES] == [4, 1, 4] * 4


def test_lists_of_paths_are_joined_too_and_keep_their_order(folder: Path) -> None:
    table = rows() | {"path": [str(folder / path) for path in rows()["path"]]}
    files = [folder / "val" / name for name in NAMES]
    paired = pair(files, given_columns(pa.table(table)))
    assert paired.source.ids == list(map(str, files))
    assert by_path(paired) == EXPECTED
    source = TensorSource(torch.zeros(12, 3, 8, 8, dtype=torch.uint8), [f"val/{name}" for name in NAMES])
    paired = pair(source, mappings())
    assert paired.source is source
    assert by_path(paired) == EXPECTED


@given(st.permutations(range(6)))
def test_a_join_gives_every_image_its_own_entry(order: list[int]) -> None:
    source = TensorSource(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), [f"{i}.png" for i in range(6)])
    shuffled = {f"{i}.png": i for i in order}
    paired = pair(source, given_columns(shuffled, dict(sorted(shuffled.items()))))
    assert paired.columns["labels"] == paired.columns["predictions"] == list(range(6))


def test_a_bare_sequence_beside_a_folder_is_a_doubt_that_shows_the_pairs(folder: Path) -> None:
    columns = given_columns(LABELS, GUESSES)
    paired = pair(folder, columns)
    assert paired.by_listing
    doubt = paired.doubt(check_inputs(**columns, class_names=None))
    assert (
        "'val/1.png' → 'dog', 'val/10.png' → 'cat', 'val/11.png' → 'cat', 'val/12.png' → 'dog', 'val/2.png' → 'cat', …"
        in doubt
    )
    assert "order='sorted'" in doubt
    for images, order in (
        (folder, "sorted"),
        ([folder / "val" / name for name in NAMES], None),
        (torch.zeros(12, 3, 8, 8), None),
    ):
        assert not pair(images, columns, order).by_listing


def test_an_audit_says_the_doubt_everywhere(folder: Path, tmp_path: Path, clip: fdgpu.ClipEmbedder) -> None:
    with pytest.warns(FdgpuWarning, match="paired with the sorted listing"):
        result = fdgpu.audit(folder, LABELS, GUESSES, embedder=clip, out=tmp_path / "out")
    assert "val/10.png&#39; → &#39;cat" in result.page
    assert "'val/10.png' → 'cat'" in (tmp_path / "out" / "audit.json").read_text()
    silent = fdgpu.audit(folder, as_csv(tmp_path), embedder=clip)  # a warning is an error in tests
    assert "sorted listing" not in silent.page
    listed = [str(folder / path) for path in rows()["path"]]
    same = fdgpu.audit(listed, rows()["label"], rows()["prediction"], embedder=clip, confidence=rows()["confidence"])
    assert np.array_equal(silent.decisions, same.decisions, equal_nan=True)


@pytest.mark.parametrize(
    ("columns", "order", "message"),
    [
        (given_columns({"val/1.png": "cat"}, {"val/2.png": "cat"}), None, "predictions has no entry for 'val/1.png'"),
        (given_columns({"a": 1}, {"a": 1, "b": 1, "c": 1}), None, "labels has no entry for 2 paths, such as 'b', 'c'"),
        (given_columns({"a": 1}, [1]), None, "predictions is no mapping, and others are"),
        (given_columns([1], [1], splits={"a": "val"}), None, "labels is no mapping, and others are"),
        (given_columns({"a": 1}), None, "predictions is missing"),
        (given_columns(["cat"]), None, "predictions is missing"),
        (given_columns({"a": 1, "./a": 1}, {"a": 1}), None, "labels holds a path twice"),
        (given_columns({1: 1}, {1: 1}), None, "labels maps 1 of type int: its keys are paths"),
        (given_columns(LABELS, GUESSES), "listed", "order is 'listed': pass 'sorted'"),
        (given_columns({"val/1.png": 1}, {"val/1.png": 1}), "sorted", "order is for bare sequences"),
        (given_columns(pa.table(rows()), GUESSES), None, "predictions is given beside a table"),
        (given_columns("nowhere.csv"), None, "nowhere.csv cannot be read"),
        (
            given_columns(pa.table({"path": ["a"], "label": ["x"]})),
            None,
            "labels, a table: the column 'prediction' is missing, the header is 'path, label': call it one of",
        ),
        (given_columns(Frame({"path": ["a"], "label": [object()], "prediction": [1]})), None, "cannot be read"),
    ],
)
def test_what_cannot_be_joined_is_named(folder: Path, columns: dict, order: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair(folder, columns, order)


def test_images_without_paths_or_with_others(folder: Path) -> None:
    with pytest.raises(InputError, match="images have no paths"):
        pair(iter([torch.zeros(3, 8, 8)]), mappings())
    with pytest.raises(InputError, match=r"labels lacks 12 paths, such as '.*/val/1.png'.*, and 'val/.*' is there"):
        pair([folder / "val" / name for name in NAMES], mappings())
    with pytest.raises(InputError, match=r"images lacks 'val/9.png'"):
        pair(TensorSource(torch.zeros(11, 3, 8, 8), [f"val/{n}" for n in NAMES if n != "9.png"]), mappings())
    with pytest.raises(InputError, match="order says how a folder is listed"):
        pair([folder / "val" / "1.png"], given_columns(["a"], ["a"]), "sorted")
    with pytest.raises(InputError, match="is not a folder"):
        pair(folder / "none", mappings())


def of(path: str) -> dict[str, Any]:
    return given_columns({path: "cat"}, {path: "cat"})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("val\\1.png", r"no file 'val.*1.png' under .*photos.*: it has backslashes; write / instead"),
        ("https://example.com/1.png", "it is a URL; download"),
        ("photos/val/1.png", "it begins with photos/, which the folder's own path ends in"),
        ("images/val/1.png", "it begins with images/"),
        ("val/1.PNG", "there is 'val/1.png', of another case"),
        ("val/1", "there is 'val/1.png', of a suffix"),
        ("e\u0301.png", "there is 'é.png', of another Unicode form"),
        ("1.png", "the folder holds 'val', 'é.png'; write paths from it on"),
        ("x" * 5000, "the folder holds"),
        ("a\0b", "the folder holds"),
        ("a\ud800", "the folder holds"),
    ],
)
def test_where_nothing_is_there_the_reason_is_given(folder: Path, path: str, message: str) -> None:
    (folder / "é.png").touch()
    with pytest.raises(InputError, match=message):
        pair(folder, of(path))


def test_nothing_outside_the_folder_is_read_unless_that_is_asked_for(folder: Path) -> None:
    outside = folder.parent / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    for path in ("../secret.png", "val/../../secret.png", str(outside), "//etc/passwd", f"{folder}/../secret.png"):
        with pytest.raises(InputError, match=r"in row 0 lies outside .*--allow-outside"):
            pair(folder, of(path))
    for path in ("../secret.png", str(outside)):
        assert pair(folder, of(path), allow_outside=True).source.pictures([0], 8)[0] is not None
    (folder / "link").symlink_to(folder.parent)
    Image.new("RGB", (8, 8)).save(folder / "a..png")
    for path in (f"{folder}/val/1.png", "val/../val/1.png", "a..png", "link/secret.png"):
        assert pair(folder, of(path)).source.pictures([0], 8)[0] is not None


def test_one_that_is_missing_among_others_is_left_to_the_audit(folder: Path) -> None:
    paths = ["val/gone.png", "val/1.png"]
    source = pair(folder, given_columns(dict.fromkeys(paths, "cat"), dict.fromkeys(paths, "cat"))).source
    (batch,) = source.batches(2, lambda picture: picture)
    assert batch.unreadable == {"val/gone.png": "does not exist"}


def test_a_frame_may_hold_numbers_and_lack_splits() -> None:
    table = read_frame(pa.table({"Filename": ["a", "b"], "target": [3, 4], "pred": [3.0, 3.0], "group": [7, None]}))
    assert (table.paths, table.splits, table.groups) == (["a", "b"], ["val", "val"], ["7", None])
    inputs = check_inputs(table.column("label"), table.column("prediction"), None)
    assert inputs.correct.tolist() == [True, False]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a", "a"]}, "row 1: 'a' is already in row 0"),
        ({"path": ["a", None]}, "row 1: path is empty"),
        ({"path": [1, 2]}, "has path of type int64: pass text"),
        ({"label": ["x", ""]}, "row 1: label is empty"),
        ({"label": [0.0, None]}, "row 1: label is empty"),
        ({"label": [True, False]}, "has label of type bool"),
        ({"split": ["val", "walk"]}, "row 1: split is 'walk'"),
        ({"confidence": [0.5, None]}, "row 1: confidence is nan"),
        ({"confidence": [0.5, 2]}, "row 1: confidence is 2"),
        ({"prediction": ["x" * 1001, "y"]}, "row 0: prediction has 1001 characters"),
    ],
)
def test_a_mistake_in_a_frame_is_named_with_its_row(columns: dict, message: str) -> None:
    whole = {"path": ["a", "b"], "label": ["x", "y"], "prediction": ["x", "y"], "split": ["val", "test"]}
    with pytest.raises(InputError, match=message):
        read_frame(pa.table(whole | columns))


def test_an_object_in_a_frame_is_named_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame({"path": ["a", "b"], "label": ["x", "y"], "prediction": ["x", "y"]})
    assert read_frame(frame).paths == ["a", "b"]  # of pathlib's paths
    monkeypatch.setattr(Series, "to_list", lambda _: ["a", {}])
    with pytest.raises(InputError, match="labels, row 1: path is a dict: pass text"):
        read_frame(frame)


def test_columns_of_other_names_are_joined_by_path(folder: Path) -> None:
    names = {"path": "where", "label": "truth", "prediction": "said", "confidence": "sure"}
    frame = {names.get(name, name): column for name, column in rows().items() if name != "group"}
    for labels in (pa.table(frame), Frame(frame)):
        assert by_path(pair(folder, given_columns(labels), names=names)) == EXPECTED
    for odd in (LABELS, dict(zip(NAMES, LABELS, strict=True))):
        with pytest.raises(InputError, match="columns says what a table calls its columns, and labels is no table"):
            pair(folder, given_columns(odd, odd), names=names)


def test_scores_are_joined_by_path(folder: Path) -> None:
    scores = {f"val/{name}": [i / 12, 1 - i / 12] for i, name in enumerate(NAMES)}
    labels = {path: int(row[1] > 0.5) for path, row in reversed(scores.items())}
    of_mapping = pair(folder, given_columns(labels, scores))
    of_table = pair(folder, given_columns(pa.table({"path": list(scores), "label": [labels[one] for one in scores],
                                                    "probabilities": list(scores.values())})))  # fmt: skip
    for paired in (of_mapping, of_table):
        inputs = check_inputs(**paired.columns, class_names=["a", "b"])
        assert inputs.confidence is not None
        expected = [max(scores[f"val/{Path(own).name}"]) for own in paired.source.ids]
        np.testing.assert_allclose(inputs.confidence, expected, atol=1e-6)
        assert inputs.correct.all()
