"""One file: what is read is what was written, and a file that is not whole is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fdgpu
from fdgpu.errors import InputError
from fdgpu.index import CaptionIndex, IndexKind, VectorIndex
from tests.index.vectors import names, unit_rows

N, D = 1000, 12
ROWS, QUERIES = unit_rows(N, D), unit_rows(9, D, seed=1)
LISTS = IndexKind("ivf", "a test", lists=20, probes=3)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["flat", "hnsw", LISTS], ids=str)
def test_what_is_read_is_what_was_written(kind: str | IndexKind, dtype: str, tmp_path: Path) -> None:
    index = CaptionIndex(ROWS, names(N), reference=ROWS[4], scale=np.linspace(0.1, 2, D), kind=kind, dtype=dtype)
    index.save(tmp_path / "captions.index")
    read = CaptionIndex.load(tmp_path / "captions.index")
    for mine, theirs in zip(index.hardest(QUERIES, 5), read.hardest(QUERIES, 5), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (len(read), list(read.captions), read.kind_) == (N - 1, names(N), index.kind_)
    np.testing.assert_array_equal(read.reference, index.reference)
    np.testing.assert_array_equal(read.scale, index.scale)
    assert [path.name for path in tmp_path.iterdir()] == ["captions.index"]


def test_a_grammar_is_stored_by_its_words_and_more_can_be_added(tmp_path: Path) -> None:
    words = [str(i) for i in range(100)]
    grammar = fdgpu.CaptionGrammar("a {a} {b} {c} {noun}", a_or_an=True, a=[None, *words], b=words, c=words, noun=words)
    CaptionIndex(None, grammar).add(ROWS[:500]).save(tmp_path / "big")
    assert (tmp_path / "big").stat().st_size < 60_000  # of a hundred million captions, 24 kB of vectors
    read = CaptionIndex.load(tmp_path / "big").add(ROWS[500:])
    assert (len(read), len(read.captions), read.captions[12_345_678]) == (N, 101 * 10**6, grammar[12_345_678])
    np.testing.assert_array_equal(read.search(ROWS[700:701], 1).ids, [[700]])


def test_names_of_all_scripts(tmp_path: Path) -> None:
    odd = ["", "a\nb", '"', "猫", "🐈", "\u2028"]
    VectorIndex(ROWS[:6], odd).add(ROWS[6:8], ["x", "y"]).save(tmp_path / "index")
    assert list(VectorIndex.load(tmp_path / "index").names) == [*odd, "x", "y"]


@pytest.mark.parametrize("kind", ["flat", "hnsw", LISTS], ids=str)
def test_a_file_that_was_cut_short(kind: str | IndexKind, tmp_path: Path) -> None:
    path = tmp_path / "index"
    VectorIndex(ROWS, names(N), kind=kind).save(path)
    whole = path.read_bytes()
    for share in (0, 0.01, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"index is cut short, damaged, or not an index .*: save the index again"):
            VectorIndex.load(path)


def test_a_file_in_which_a_byte_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "index"
    VectorIndex(ROWS, names(N)).save(path)
    whole = bytearray(path.read_bytes())
    for at in np.random.default_rng(0).integers(100, len(whole) - 400, 20).tolist():
        changed = whole.copy()
        changed[at] ^= 0x40
        path.write_bytes(changed)
        with pytest.raises(InputError, match="damaged"):
            VectorIndex.load(path)


def test_files_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist: pass a file that VectorIndex\.save wrote"):
        VectorIndex.load(tmp_path / "none")
    (tmp_path / "text").write_text("no index")
    with pytest.raises(InputError, match="not an index"):
        VectorIndex.load(tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(InputError, match="not an index"):
        VectorIndex.load(tmp_path / "zip")
    VectorIndex(ROWS, names(N)).save(tmp_path / "vectors")
    with pytest.raises(InputError, match=r"not an index of this kind, CaptionIndex/1 \(expected the format Cap"):
        CaptionIndex.load(tmp_path / "vectors")


class Interrupted(list):
    """Names that cannot be gone through to the end."""

    def __iter__(self) -> Iterator[str]:
        yield "a"
        raise KeyboardInterrupt


def test_saving_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    index = VectorIndex(ROWS[:2], ["a", "b"])
    index.names.parts[0] = Interrupted(["a", "b"])
    with pytest.raises(KeyboardInterrupt):
        index.save(tmp_path / "index")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot be written"):
        VectorIndex(ROWS, names(N)).save(tmp_path / "no" / "folder")


FILES = Path(__file__).parent / "files"  # written at d98a384, when every index was FAISS's
WRITTEN = {
    "captions_flat.index": [[18, 4, 10], [12, 3, 4], [19, 7, 2], [8, 1, 11], [7, 16, 10]],
    "vectors_flat.index": [[11, 15, 22], [30, 36, 34], [33, 3, 16], [14, 13, 31], [27, 6, 3]],
    "vectors_flat_half.index": [[11, 15, 22], [30, 36, 34], [33, 3, 16], [14, 13, 31], [27, 6, 3]],
    "vectors_graph.index": [[92, 60, 86], [5, 59, 18], [94, 56, 91], [3, 87, 98], [10, 31, 99]],
    "vectors_lists.index": [[177, 154, 228], [385, 47, 87], [330, 332, 112], [49, 120, 3], [31, 379, 267]],
    "vectors_lists_to_be.index": [[29, 36, 82], [47, 87, 51], [99, 7, 85], [49, 3, 52], [31, 28, 17]],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_of_before_is_read(name: str, tmp_path: Path) -> None:
    kind = CaptionIndex if "captions" in name else VectorIndex
    queries = unit_rows(5, 8, seed=16)
    index = kind.load(FILES / name)
    assert index.search(queries, 3).ids.tolist() == WRITTEN[name]
    index.add(unit_rows(300, 8, seed=17), names(300)).save(tmp_path / "again")
    again = kind.load(tmp_path / "again")
    for mine, theirs in zip(index.search(queries, 3), again.search(queries, 3), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_file_of_before_keeps_names_reference_and_scale() -> None:
    index = CaptionIndex.load(FILES / "captions_flat.index")
    assert list(index.captions)[-3:] == ["a photo of an orange owl indoors", "a dog", "猫"]
    assert (len(index), len(index.captions)) == (19, 20)
    np.testing.assert_array_equal(index.reference, unit_rows(18, 8, seed=11)[0].astype(np.float64))
    np.testing.assert_allclose(index.scale, np.linspace(0.5, 2, 8), rtol=1e-15)
