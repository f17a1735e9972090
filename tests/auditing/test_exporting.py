"""Exports, each opened by the package that it is for: rows, tags and vectors are the audit's.

FiftyOne, Spotlight and Embedding Atlas live in an environment of their own: ``make exports`` makes it, and runs this.
"""

from __future__ import annotations

import doctest
import json
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fdgpu
from fdgpu.auditing import AuditResult
from fdgpu.auditing.after import exporting
from fdgpu.auditing.after.exporting import MAP, SIMILARITY, audit_frame, class_probabilities, export
from fdgpu.errors import InputError, MissingExtraError
from fdgpu.findings import Target

N, D = 120, 12
CLASSES = ("cat", "dog", "owl")  # the model is never wrong on owls
MISSING = "is not installed: make exports"


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    """An audit of vectors that lie in a store in its folder, with pictures beside it; two lie in val and test."""
    rng, out = np.random.default_rng(0), tmp_path_factory.mktemp("exports") / "audit"
    labels = np.array(CLASSES)[np.arange(N) % 3]
    vectors = rng.normal(size=(N, D)) + 3 * np.eye(D)[np.arange(N) % 3]
    wrong = (vectors[:, 5] < -0.3) & (labels != "owl")
    predictions = np.where(wrong, np.where(labels == "cat", "dog", "cat"), labels)
    splits = np.where(np.arange(N) < 72, "val", "test")
    vectors[-1], vectors[-3] = vectors[2], vectors[1]
    ids = [f"{label}/{i}.png" for i, label in enumerate(labels)]
    for name in ids:
        (out.parent / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(out.parent / "images" / name)
    store = fdgpu.EmbeddingStore.create(out / "embeddings", D)
    unit = torch.nn.functional.normalize(torch.from_numpy(vectors).float(), dim=1)
    store.append(ids, unit, labels=labels.tolist(), splits=splits.tolist())
    confidence = rng.uniform(0.5, 0.9, N)
    own = np.where(wrong, (1 - confidence) * 0.6, confidence)
    return fdgpu.audit(
        embeddings=fdgpu.EmbeddingStore.open(out / "embeddings"), predictions=predictions.tolist(),
        confidence=confidence, true_probability=own, out=out, method="svm",
        directions=fdgpu.FailureDirections(n_permutations=0, random_state=0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def frame(audited: AuditResult) -> pa.Table:
    return audit_frame(audited, audited.out.parent / "images")


def rows_of(table: pa.Table) -> str:
    """All rows; NaN, which equals nothing, as it is written."""
    return repr(table.to_pylist())


def vectors_of(frame: pa.Table) -> np.ndarray:
    return np.array(frame["vector"].to_pylist(), np.float32)


# --- the frame --------------------------------------------------------------------------------------------------------


def test_the_frame_has_the_rows_of_the_examples_and_what_the_audit_found_of_each(
    audited: AuditResult, frame: pa.Table
) -> None:
    examples = audited.examples
    assert rows_of(frame.select(examples.column_names)) == rows_of(examples)
    assert rows_of(audit_frame(audited.out, audited.out.parent / "images")) == rows_of(frame)  # of the folder alone
    store = fdgpu.EmbeddingStore.open(audited.out / "embeddings")
    own = store.rows().take(store.rows_of(examples["path"].to_pylist())).numpy()
    np.testing.assert_array_equal(vectors_of(frame), own)
    table = frame.to_pandas()
    assert [Path(file).is_file() for file in table.file] == [True] * len(table)
    for row in table.itertuples():
        side = {True: ["hard"], False: ["easy"]}[row.decision_value < 0] if row._2 != "owl" else []
        cause = {"label": ["wrong label"], "duplicate": ["duplicate"]}.get(row.cause, [])
        assert list(row.tags) == side + ["error"] * (not row.correct) + cause
    assert table.duplicate_of.dropna().tolist() == [f"{name}/{i}.png" for name, i in (("dog", 1), ("owl", 2))]
    assert table.significant[table["class"] == "owl"].isna().all()
    assert not table.significant[table["class"] != "owl"].any()  # nothing was tested


def test_places_are_those_of_the_page(audited: AuditResult, frame: pa.Table) -> None:
    listed = audited.findings.images
    at = {path: i for i, path in enumerate(listed.paths)}
    rows = [at[path] for path in frame["path"].to_pylist()]
    np.testing.assert_allclose(frame["y"].to_numpy(), listed.across[rows], atol=1e-5)
    np.testing.assert_array_equal(frame["x"].to_numpy(), listed.decisions[rows, 0])


def test_the_examples_of_the_documentation_hold(audited: AuditResult, tmp_path: Path) -> None:
    shared = {"audited": audited, "tmp_path": tmp_path}
    failed, attempted = doctest.testmod(exporting, extraglobs=shared)
    assert (failed, attempted) == (0, 4)


def test_several_directions_and_conditions(audited: AuditResult) -> None:
    """An image is hard by its lowest direction; of conditions it has a row each."""
    examples, mode = audited.examples.slice(0, 3), pa.array([0, 1, None])
    along = pa.table({"decision_value": [1.0, 2.0, np.nan], "decision_value_1": [3.0, -1.0, np.nan]})
    examples = examples.set_column(examples.column_names.index("decision_value"), "decision_value", along[0])
    examples = examples.append_column("decision_value_1", along[1]).append_column("mode", mode)
    modes = [replace(audited.findings.classes[0].strongest, significant=one) for one in (False, True)]
    classes = [replace(one, modes=tuple(modes)) for one in audited.findings.classes]
    of_two = replace(audited, examples=examples, findings=replace(audited.findings, classes=tuple(classes)))
    found = audit_frame(of_two, store="none")
    assert [tags[:1] for tags in found["tags"].to_pylist()] == [["easy"], ["hard"], []]
    assert found["significant"].to_pylist() == [False, True, None]
    assert "vector" not in found.column_names


def test_what_cannot_be_exported(audited: AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    other = fdgpu.EmbeddingStore.create(tmp_path / "other", 2)
    paths = audited.examples["path"].to_pylist()
    other.append(paths, torch.eye(2)[[0] * len(paths)])
    mixed, few = (fdgpu.EmbeddingStore.create(tmp_path / name, D) for name in ("mixed", "few"))
    own = fdgpu.EmbeddingStore.open(audited.out / "embeddings")
    mixed.append(paths, own.rows().take(own.rows_of(paths[::-1])))
    few.append(paths[1:], torch.eye(D)[[0] * len(paths[1:])])
    for change, message in (
        ({"to": "excel"}, "to is 'excel': use one of fiftyone, renumics"),
        ({"audit": tmp_path}, "holds no audit.json"),
        ({"audit": 3}, "audit is 3"),
        ({"images": tmp_path / "none"}, "is no folder"),
        ({"images": tmp_path}, r"has no 'cat/72.png' \(48 of 48 images are not there\)"),
        ({"store": tmp_path / "none"}, "none"),
        ({"store": other}, "vectors of 2 numbers, the audit's directions 12"),
        ({"store": mixed}, "other vectors of these images than the audit was made of: pass the store"),
        ({"store": few}, r"no vector of 'cat/72.png' \(1 of 48 .*; or leave vectors out"),
        ({"store": 3}, "store is 3"),
        ({"to": "atlas", "store": "none"}, "needs vectors"),
        ({"to": "huggingface", "out": tmp_path / "full"}, "is not empty"),
        ({"to": "fiftyone", "out": tmp_path / "full" / "mine.txt"}, "cannot be written"),
    ):
        with pytest.raises(InputError, match=message):
            export(**{"audit": audited, "to": "parquet", **change})
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"Hugging Face needs datasets.*pip install datasets"):
        export(audited, "huggingface")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [Target.PARQUET, Target.RENUMICS, Target.ATLAS])
def test_parquet(audited: AuditResult, target: Target, tmp_path: Path) -> None:
    returned = export(audited, target, tmp_path / "new" / "a.parquet")
    assert rows_of(pq.read_table(tmp_path / "new" / "a.parquet")) == rows_of(returned)
    assert returned.num_rows == 48


def test_csv_is_a_table_for_programs_without_lists(audited: AuditResult, frame: pa.Table, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    returned = export(audited, "csv", tmp_path / "a.csv")
    table = pandas.read_csv(tmp_path / "a.csv", keep_default_na=False, na_values=[""])
    assert list(table.columns) == returned.column_names
    assert not {"vector", "x", "y"} & set(table.columns)
    assert table.tags.fillna("").tolist() == ["; ".join(tags) for tags in frame["tags"].to_pylist()]
    np.testing.assert_allclose(table.decision_value, frame["decision_value"].to_numpy())


def test_hugging_face(audited: AuditResult, frame: pa.Table, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    export(audited, "huggingface", tmp_path / "hf", images=audited.out.parent / "images")
    found = datasets.load_from_disk(tmp_path / "hf")
    assert found["tags"][:] == frame["tags"].to_pylist()
    np.testing.assert_array_equal(np.array(found["vector"][:], np.float32), vectors_of(frame))
    assert isinstance(found.features["image"], datasets.Image)
    assert found[0]["image"].size == (4, 4)


# --- cleanlab ---------------------------------------------------------------------------------------------------------


def test_cleanlab_finds_issues_in_what_it_is_given(audited: AuditResult, frame: pa.Table, tmp_path: Path) -> None:
    filters = pytest.importorskip("cleanlab.filter")
    from cleanlab.rank import get_label_quality_scores

    returned = export(audited, "cleanlab", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        found = dict(stored)
    assert {name: array.tolist() for name, array in found.items()} == {k: v.tolist() for k, v in returned.items()}
    assert found["class_names"][found["labels"]].tolist() == frame["class"].to_pylist()
    np.testing.assert_array_equal(found["features"], vectors_of(frame))
    said = found["class_names"][found["pred_probs"].argmax(axis=1)]
    assert said.tolist() == frame["prediction"].to_pylist()
    scores = get_label_quality_scores(found["labels"], found["pred_probs"], method="self_confidence")
    np.testing.assert_allclose(scores, frame["true_probability"].to_numpy(), atol=1e-6)
    issues = filters.find_label_issues(found["labels"], found["pred_probs"], n_jobs=1)
    assert issues.shape == (48,)
    assert not issues[frame["correct"].to_numpy()].any()


@given(st.data())
def test_probabilities_of_all_classes_say_what_is_known(data: st.DataObject) -> None:
    n, k = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    every = rng.dirichlet(np.ones(k), n)
    labels, predictions = rng.integers(0, k, n), every.argmax(axis=1)
    rows = np.arange(n)
    own, confidence, allowed = every[rows, labels], every[rows, predictions], np.ones((n, k), bool)
    found = class_probabilities(labels, predictions, confidence, own, allowed)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found[rows, labels], own, atol=1e-12)
    np.testing.assert_allclose(found[rows, predictions], confidence, atol=1e-12)
    assert (found <= confidence[:, None] + 1e-9).all()
    alone = class_probabilities(labels, predictions, confidence, None, allowed)
    if k == 2:
        np.testing.assert_allclose(found, every, atol=1e-12)
        np.testing.assert_allclose(alone, every, atol=1e-12)
    else:
        assert (alone is None) == bool((labels != predictions).any())


def test_without_probabilities_cleanlab_has_labels_and_features(audited: AuditResult) -> None:
    bare = replace(audited, examples=audited.examples.drop_columns(["confidence", "true_probability"]))
    assert set(export(bare, "cleanlab")) == {"labels", "class_names", "paths", "features"}
    contradicting = class_probabilities(*np.eye(2, dtype=int), np.full(2, 0.9), np.full(2, 0.5), np.ones((2, 3), bool))
    assert contradicting is None


def test_of_conditions_the_two_classes_of_each_share_the_probability(audited: AuditResult) -> None:
    examples = audited.examples.filter(pa.compute.not_equal(audited.examples["class"], "owl"))
    conditions = ["a"] * 10 + ["b"] * (len(examples) - 10)
    right = examples["correct"].to_pylist()
    said = [one if fits else f"no {one}" for one, fits in zip(conditions, right, strict=True)]
    examples = examples.drop_columns(["class", "prediction", "true_probability"])
    examples = examples.append_column("class", pa.array(conditions)).append_column("prediction", pa.array(said))
    examples = examples.append_column("condition", pa.array(conditions))
    classes = [
        replace(audited.findings.classes[0], name=f"{no}{one}", condition=one) for one in "ab" for no in ("no ", "")
    ]
    found = export(
        replace(audited, examples=examples, findings=replace(audited.findings, classes=tuple(classes))), "cleanlab",
        store="none",
    )  # fmt: skip
    confidence = examples["confidence"].to_numpy()
    own = np.where(right, confidence, 1 - confidence)
    assert found["class_names"].tolist() == ["no a", "a", "no b", "b"]
    np.testing.assert_allclose(found["pred_probs"][:10], np.stack([1 - own, own, 0 * own, 0 * own], axis=1)[:10])
    np.testing.assert_allclose(found["pred_probs"][10:], np.stack([0 * own, 0 * own, 1 - own, own], axis=1)[10:])


# --- in an environment of their own -----------------------------------------------------------------------------------


@pytest.fixture
def fiftyone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in (("DATABASE_DIR", str(tmp_path_factory.mktemp("mongo"))), ("DO_NOT_TRACK", "1")):
        monkeypatch.setenv(f"FIFTYONE_{name}", value)
    found = pytest.importorskip("fiftyone", reason=f"FiftyOne {MISSING}")
    found.config.show_progress_bars = False
    return found


@pytest.mark.filterwarnings("default")  # FiftyOne's own
def test_fiftyone_opens_samples_tags_and_vectors(
    fiftyone: Any, audited: AuditResult, frame: pa.Table, tmp_path: Path
) -> None:
    made = export(audited, "fiftyone", tmp_path / "fo", images=audited.out.parent / "images")
    read = fiftyone.Dataset.from_dir(str(tmp_path / "fo"), dataset_type=fiftyone.types.FiftyOneDataset)
    for one in (made, read):
        assert one.values("filepath") == frame["file"].to_pylist()
        assert one.values("path") == frame["path"].to_pylist()
        assert one.values("tags") == frame["tags"].to_pylist()
        assert one.values("ground_truth.label") == frame["class"].to_pylist()
        assert one.values("prediction.label") == frame["prediction"].to_pylist()
        np.testing.assert_allclose(one.values("prediction.confidence"), frame["confidence"].to_numpy())
        along = np.array(one.values("decision_value"), float)
        np.testing.assert_array_equal(along, frame["decision_value"].to_numpy())
        assert len(one.match_tags("hard")) == sum("hard" in tags for tags in frame["tags"].to_pylist())
        vectors, ids, _ = one.load_brain_results(SIMILARITY).get_embeddings()
        order = [list(ids).index(own) for own in one.values("id")]
        np.testing.assert_array_equal(np.asarray(vectors)[order], vectors_of(frame))
        places = one.load_brain_results(MAP)
        of_map = {own: tuple(point) for own, point in zip(places.sample_ids, places.points, strict=True)}
        expected = frame.select(["x", "y"]).to_pylist()
        found = [of_map.get(own, (None, None)) for own in one.values("id")]
        assert found == [(one["x"], one["y"]) for one in expected]
    made.delete()
    read.delete()


@pytest.mark.filterwarnings("default")  # Spotlight's own
def test_spotlight_opens_the_file(audited: AuditResult, frame: pa.Table, tmp_path: Path) -> None:
    pytest.importorskip("renumics.spotlight", reason=f"Renumics Spotlight {MISSING}")
    from renumics.spotlight.data_source import create_datasource
    from renumics.spotlight.data_store import DataStore

    export(audited, "renumics", tmp_path / "a.parquet", images=audited.out.parent / "images")
    opened = DataStore(create_datasource(tmp_path / "a.parquet"), {})
    kinds = {name: opened.dtypes[name].name for name in opened.column_names}
    assert (len(opened), opened.column_names) == (48, frame.column_names)
    expected = {"file": "Image", "class": "Category", "prediction": "Category", "vector": "Embedding", "x": "float"}
    assert {name: kinds[name] for name in expected} == expected
    vectors = np.stack(opened.get_converted_values("vector", list(range(48))))
    np.testing.assert_array_equal(vectors.astype(np.float32), vectors_of(frame))
    tags = opened.get_converted_values("tags", list(range(48)))
    assert [list(one) for one in tags] == frame["tags"].to_pylist()


@pytest.mark.filterwarnings("default")  # Embedding Atlas' own
def test_embedding_atlas_makes_its_page_of_the_file(audited: AuditResult, frame: pa.Table, tmp_path: Path) -> None:
    cli = pytest.importorskip("embedding_atlas.cli", reason=f"Embedding Atlas {MISSING}")
    from click.testing import CliRunner

    export(audited, "atlas", tmp_path / "a.parquet")
    words = [str(tmp_path / "a.parquet"), "--x", "x", "--y", "y", "--vector", "vector", "--disable-projection"]
    done = CliRunner().invoke(cli.main, [*words, "--export-application", str(tmp_path / "a.zip")])
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        seen = pq.read_table(BytesIO(archive.read("data/dataset.parquet")))
        about = json.loads(archive.read("data/metadata.json"))
    assert '"x"' in json.dumps(about)
    assert seen["path"].to_pylist() == frame["path"].to_pylist()
    assert seen["tags"].to_pylist() == frame["tags"].to_pylist()
    np.testing.assert_array_equal(vectors_of(seen), vectors_of(frame))
    np.testing.assert_array_equal(seen["y"].to_pandas(), frame["y"].to_pandas())
