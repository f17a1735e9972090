"""Index files that were damaged on purpose: each is refused by name, or answers with rows that it has."""

from __future__ import annotations

import json
import operator
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdgpu.errors import InputError
from fdgpu.index import CaptionIndex, IndexKind, VectorIndex
from tests.bare import ROOT
from tests.index.vectors import names, unit_rows

ROWS = unit_rows(90, 4)
Entries = dict[str, bytes]


def test_damaged_files_in_a_process_of_their_own() -> None:
    pytest.importorskip("faiss", reason="FAISS is not installed")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.index.damaging"], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    outcomes = json.loads(ran.stdout)
    assert sum(outcomes.values()) >= 900
    assert outcomes["refused"] > 500  # the damage is seen


def rewritten(path: Path, change: Callable[[Entries], object], compression: int = zipfile.ZIP_STORED) -> None:
    """Change entries of a file, with checksums that are right."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def says(**changed: Any) -> Callable[[Entries], None]:
    """Change what the manifest says."""

    def change(entries: Entries) -> None:
        entries["manifest.json"] = json.dumps(json.loads(entries["manifest.json"]) | changed).encode()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (says(vectors=89), r"'shape': \(89, 4\)"),
        (says(vectors=10**9), "ids of the 90 rows that were seen"),
        (says(dimension=5), "90 vectors of 5 numbers"),
        (says(dtype="float64"), "dtype is 'float64'"),
        (says(runs=[[0, 10**9]]), "ids of the 90 rows that were seen"),
        (says(runs=[[0, 0], [45, 44]]), "each id once"),
        (says(runs=[]), "runs of ids"),
        (says(runs=[[5, 0]]), "runs of vectors that ascend"),
        (says(seen=91), "names for the 91 rows"),
        (says(names=[]), "names for the 90 rows"),
        (says(names=["names/1.jsonl"]), r"no item named 'names/1.jsonl'"),
        (says(file="/etc/passwd"), "file is '/etc/passwd'"),
        (says(kind={"name": "magic", "reason": ""}), "kind is 'magic'"),
        (says(kind={"name": "ivf", "reason": "", "lists": 0}), "lists of an IndexKind is 0"),
        (says(kind={"name": "hnsw", "reason": "", "links": 10**9}), "links of an IndexKind is 1000000000"),
        (says(kind={"name": "flat", "reason": "", "more": 1}), "a kind with name, reason and settings"),
        (lambda entries: entries.update({"manifest.json": b"[" * 10**5}), "nested too deeply"),
        (lambda entries: entries.update({"manifest.json": b'{"format": 1, "format": 2}'}), "a key twice, 'format'"),
        (lambda entries: entries.update({"names/0.jsonl": b"3\n" * 90}), "strings in names/0.jsonl"),
        (lambda entries: entries.update({"vectors.npy": entries["vectors.npy"][:-4]}), "1440 bytes of vectors"),
        (
            lambda entries: entries.update({"vectors.npy": entries["vectors.npy"].replace(b"(90, 4)", b"(9, 40)")}),
            "vectors.npy of NumPy's format 1.0",
        ),
        (
            lambda entries: entries.update({"vectors.npy": entries["vectors.npy"][:-4] + b"\x00\x00\xc0\x7f"}),
            "finite vectors",
        ),
    ],
)
def test_what_was_expected_is_said(change: Callable[[Entries], object], message: str, tmp_path: Path) -> None:
    VectorIndex(ROWS, names(90)).save(tmp_path / "index")
    rewritten(tmp_path / "index", change)
    with pytest.raises(InputError, match=message):
        VectorIndex.load(tmp_path / "index")


def test_entries_that_are_compressed_are_not_unpacked(tmp_path: Path) -> None:
    VectorIndex(ROWS, names(90)).save(tmp_path / "index")
    rewritten(tmp_path / "index", lambda _: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="entries that are not compressed"):
        VectorIndex.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("name", "value"), [("reference", [1.0, 0.0]), ("scale", [1.0, 0.0, 1.0, 1.0]), ("scale", [1.0])]
)
def test_a_reference_and_a_scale_that_do_not_go_with_the_vectors(name: str, value: list[float], tmp_path: Path) -> None:
    CaptionIndex(ROWS, names(90), reference=ROWS[4]).save(tmp_path / "index")
    rewritten(tmp_path / "index", says(**{name: value}))
    with pytest.raises(InputError, match=r"index is damaged \(.*(reference|scale)"):
        CaptionIndex.load(tmp_path / "index")


@pytest.mark.parametrize("kind", [IndexKind("ivf", "a test", lists=2, probes=1), "hnsw"], ids=["lists", "graph"])
def test_an_index_of_another_metric_or_kind(kind: str | IndexKind, tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss", reason="FAISS is not installed")
    VectorIndex(ROWS, names(90), kind=kind).save(tmp_path / "index")
    far = faiss.IndexHNSWFlat(4, 32, faiss.METRIC_L2)
    far.add(ROWS)
    cells = faiss.IndexFlatL2(4)
    lists = faiss.IndexIVFFlat(cells, 4, 2, faiss.METRIC_L2)
    lists.train(ROWS)
    lists.add(ROWS)
    hashes = faiss.IndexLSH(4, 2048)
    hashes.add(ROWS)
    for other, message in ((far, "by inner product"), (lists, "by inner product"), (hashes, "begins with")):
        content = np.asarray(faiss.serialize_index(other)).tobytes()
        rewritten(tmp_path / "index", operator.methodcaller("update", {"vectors.faiss": content}))
        with pytest.raises(InputError, match=message):
            VectorIndex.load(tmp_path / "index")


def test_half_of_a_surrogate_pair_is_kept_as_it_came(tmp_path: Path) -> None:
    odd = ["a\ud800", "\udcff", "b"]
    VectorIndex(ROWS[:3], odd).save(tmp_path / "index")
    assert list(VectorIndex.load(tmp_path / "index").names) == odd
