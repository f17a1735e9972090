"""A store by hand: what is put in comes out, and what does not fit is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import EmbeddingStore
from fdgpu.errors import InputError
from fdgpu.store.writing import labels_as_text, writing
from tests.store.test_shard import unit_rows

LABELS = {
    "names": ["cat", None, "dog"],
    "numbers": [3, 1, 3],
    "of NumPy": list(np.array([3, 1, 3])),
    "an array": np.array([3, 1, 3]),
    "names of NumPy": np.array(["cat", "dog", "cat"]),
    "tensors": list(torch.tensor([3, 1, 3])),
    "a tensor": torch.tensor([3, 1, 3]),
    "conditions": np.array([[1, 0], [0, 0], [1, 1]]),
    "conditions of torch": list(torch.tensor([[1, 0], [0, 0], [1, 1]])),
    "names and numbers": ["cat", 1, None],
    "no text of UTF-8": ["c\udcffat", "dog", None],
    "numbers that look like names": ["1", "01", "1"],
}


def plain(label: Any) -> Any:
    return label.tolist() if hasattr(label, "tolist") else label


@pytest.mark.parametrize("kind", LABELS)
def test_labels_come_back_as_they_were(tmp_path: Path, kind: str) -> None:
    store = EmbeddingStore.create(tmp_path / "store", 2, shard_rows=2)
    store.append(["a", "b", "c"], unit_rows(3, 2), labels=LABELS[kind])
    expected = [plain(label) for label in LABELS[kind]]
    if kind == "no text of UTF-8":
        expected[0] = "c\\xffat"
    again = EmbeddingStore.open(store.path)
    assert again.labels_of(np.arange(3)) == expected
    assert again.labels_of(np.array([2, 0])) == [expected[2], expected[0]]


def test_labels_that_json_does_not_hold_are_refused() -> None:
    with pytest.raises(InputError, match=r"labels cannot be stored .*give names, ids, or lists"):
        labels_as_text([b"cat"])


def test_a_large_append_is_cut_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    cat = torch.cat
    monkeypatch.setattr("fdgpu.store.writing.torch.cat", lambda parts: copies.append(len(parts)) or cat(parts))
    store = EmbeddingStore.create(tmp_path / "store", 3, shard_rows=2)
    store.append([str(i) for i in range(41)], unit_rows(41, 3))
    assert set(copies) <= {1}  # nothing was put together
    assert [shard.n for shard in store.shards] == [2] * 20 + [1]
    store.append(["x", "y"], unit_rows(2, 3))
    assert [shard.path.name for shard in store.shards][-2:] == ["00020.parquet", "00021.parquet"]
    assert torch.equal(store.rows().take(np.arange(41)), torch.from_numpy(unit_rows(41, 3)))


def test_what_is_skipped_has_no_vector(tmp_path: Path) -> None:
    vectors = unit_rows(3, 2)
    vectors[1] = np.nan
    store = EmbeddingStore.create(tmp_path / "store", 2, "float16")
    store.append(["a", "b", "c"], vectors, skipped=[None, "cannot be read", None], groups=["g", 7, None])
    assert store.skipped.to_pylist() == [None, "cannot be read", None]
    assert store.groups.to_pylist() == ["g", "7", None]
    assert store.rows().take(np.arange(3))[1].tolist() == [0, 0]
    assert store.column("picture").null_count == 3
    store.check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": ["a", "a"]}, "ids has an id twice"),
        ({"ids": ["a", 7]}, "ids is 7: pass text"),
        ({"labels": ["cat"]}, "labels has 1 entries, ids has 2"),
        ({"splits": ["val", "exam"]}, "splits holds 'exam': use train, val, test"),
        ({"skipped": [None, 3]}, "skipped is 3: pass text"),
        ({"skipped": ["gone"]}, "skipped has 1 entries"),
        ({"vectors": np.eye(2, 3)}, r"vectors has shape \(2, 3\): pass \(2, 2\)"),
        ({"vectors": np.eye(2, dtype=int)}, "of type torch.int64: pass floating-point"),
        ({"vectors": np.array([[1, 0], [np.nan, 1]])}, "what float16 does not hold in row 1"),
        ({"vectors": np.array([[1, 0], [0, 1e30]])}, "what float16 does not hold in row 1"),
        ({"vectors": np.array([[1, 0], [0, 1.5]])}, "no unit vector in row 1, and the store is of half precision"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    store = EmbeddingStore.create(tmp_path / "store", 2, "float16")
    before = sorted(store.path.iterdir())
    with pytest.raises(InputError, match=said):
        store.append(**{"ids": ["a", "b"], "vectors": np.eye(2)} | changes)
    assert sorted(store.path.iterdir()) == before
    assert len(store) == 0


def test_an_id_that_is_there_is_refused_and_so_is_a_second_writer(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "store", 2)
    store.append(["a"], np.eye(1, 2))
    with pytest.raises(InputError, match=r"'a' is in .* already"):
        EmbeddingStore.open(store.path).append(["b", "a"], np.eye(2))
    with writing(store.path), pytest.raises(InputError, match="is being written by another run"):
        store.append(["b"], np.eye(1, 2))
    store.append(["b"], np.eye(1, 2))
    assert store.ids.to_pylist() == ["a", "b"]


def test_a_store_without_rows(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "store", 2)
    store.append([], np.empty((0, 2)))
    again = EmbeddingStore.open(store.path)
    assert len(again) == 0
    assert list(again.rows().blocks(3)) == []
    assert again.labels_of(np.arange(0)) == again.ids.to_pylist() == []
    again.check()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dimension": 0}, "dimension is 0"),
        ({"precision": "bfloat16"}, "precision is 'bfloat16': pass one of float32, float16"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"dimension": 4096, "shard_rows": 1 << 17}, "a shard holds up to 1024 MiB of vectors, choose fewer"),
    ],
)
def test_a_store_that_cannot_be_is_not_begun(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        EmbeddingStore.create(tmp_path / "store", **{"dimension": 2} | options)
    assert not (tmp_path / "store").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"holds 'thesis\.txt' and is no store: choose a folder that is new or empty"):
        EmbeddingStore.create(tmp_path, 2)
    with pytest.raises(InputError, match=r"is no store, it has no _manifest\.json"):
        EmbeddingStore.open(tmp_path)
    with pytest.raises(InputError, match="is a file: pass the folder of a store"):
        EmbeddingStore.open(tmp_path / "thesis.txt")


def test_what_was_killed_while_it_began_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "._manifest.json.part").write_text("{")
    EmbeddingStore.create(tmp_path, 2).append(["a"], np.eye(1, 2))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["00000.parquet", "_manifest.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[:40],
        lambda text: text.replace("Store/1", "Store/2"),
        lambda text: text.replace('"dimension": 2', '"dimension": "two"'),
        lambda text: text.replace('"dimension": 2', '"dimension": 0'),
        lambda text: text.replace("{", '{"more": 1,', 1),
        lambda text: text.replace('"shard_rows": 4096', '"shard_rows": 999999999'),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, damage: Any) -> None:
    store = EmbeddingStore.create(tmp_path / "store", 2)
    manifest = store.path / "_manifest.json"
    manifest.write_text(damage(manifest.read_text()))
    with pytest.raises(InputError, match=r"_manifest\.json is damaged, or no manifest of fdgpu\.EmbeddingStore/1"):
        EmbeddingStore.open(store.path)


@settings(max_examples=30)
@given(data=st.data())
def test_every_change_of_a_manifest_is_refused_or_is_another_run(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = EmbeddingStore.create(tmp_path_factory.mktemp("m") / "store", 2, model="m")
    store.append(["a"], np.eye(1, 2))
    held = json.loads((store.path / "_manifest.json").read_text())
    name = data.draw(st.sampled_from([one for one in held if one != "complete"]))
    value = data.draw(st.one_of(st.integers(-2, 9), st.text(max_size=5), st.none()).filter(lambda v: v != held[name]))
    (store.path / "_manifest.json").write_text(json.dumps(held | {name: value}))
    with pytest.raises(InputError, match=r"damaged|of another run than the manifest"):
        EmbeddingStore.open(store.path)
