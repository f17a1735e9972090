"""A shard: what we read straight from the file is what pyarrow reads of it, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fdgpu import EmbeddingStore
from fdgpu.errors import InputError
from fdgpu.store.shard import PLAIN, Page, Shard, Vectors, data_page, fixed_rows, write_shard

FLOATS = {"float32": np.float32, "float16": np.float16}


@st.composite
def asked(draw: st.DrawFn, n: int) -> np.ndarray:
    """Rows in every order: all, none, a run, scattered, descending, again and again."""
    rows = st.integers(0, n - 1)
    first, last = draw(rows), draw(rows)
    patterns = [
        st.just(np.arange(n)),
        st.just(np.arange(min(first, last), max(first, last) + 1)),
        st.just(np.arange(n)[::-1]),
        st.just(np.arange(first, n, 7)),
        st.lists(rows, max_size=3 * n).map(lambda some: np.array(some, np.int64)),
    ]
    return draw(st.one_of(patterns))


def unit_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def store_of(path: Path, vectors: np.ndarray, precision: str = "float32", shard_rows: int = 4096) -> EmbeddingStore:
    store = EmbeddingStore.create(path, vectors.shape[1], precision, shard_rows=shard_rows)
    store.append([str(i) for i in range(len(vectors))], vectors)
    return store


def rewritten(shard: Shard, **options: Any) -> Shard:
    """The same rows as another writer may write them."""
    table = pq.read_table(shard.path)
    if options.pop("as_lists", False):
        at = table.schema.get_field_index("vector")
        table = table.set_column(at, "vector", table["vector"].cast(pa.list_(pa.float32())))
    pq.write_table(table, shard.path, **options)
    return Shard.at(shard.path, shard.about["run"])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(), n=st.integers(1, 60), d=st.integers(1, 9), rows=st.integers(1, 25), kind=st.sampled_from([*FLOATS])
)
def test_any_rows_in_any_order_are_those_of_pyarrow(
    data: st.DataObject, n: int, d: int, rows: int, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    vectors = unit_rows(n, d)
    store = store_of(tmp_path_factory.mktemp("any") / "store", vectors, kind, rows)
    assert all(Vectors(shard, d, np.dtype(FLOATS[kind])).start for shard in store.shards)
    table = pq.read_table(store.path, columns=["id", "vector"]).combine_chunks()
    plain = table["vector"].combine_chunks().flatten().to_numpy().reshape(n, d)
    assert plain.dtype == FLOATS[kind]
    assert plain.tobytes() == vectors.astype(FLOATS[kind]).tobytes()
    order = data.draw(asked(n))
    assert store.rows().take(order).numpy().tobytes() == plain[order].tobytes()
    size = data.draw(st.integers(1, n + 1))
    blocks = list(store.rows().blocks(size))
    assert [len(block) for block in blocks] == [size] * (n // size) + [n % size] * (n % size > 0)
    assert torch.cat(blocks).numpy().tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("options", "fast"),
    [
        ({"compression": "NONE", "use_dictionary": False}, True),
        ({"compression": "NONE", "use_dictionary": False, "data_page_version": "2.0"}, False),
        ({"compression": "NONE", "use_dictionary": True}, False),
        ({"compression": "SNAPPY", "use_dictionary": False}, False),
        ({"compression": "NONE", "use_dictionary": False, "row_group_size": 10}, False),
        ({"compression": "NONE", "use_dictionary": False, "data_page_size": 64, "write_batch_size": 4}, False),
        ({"compression": "NONE", "use_dictionary": False, "use_byte_stream_split": ["vector.list.element"]}, False),
        ({"compression": "NONE", "use_dictionary": False, "write_page_checksum": True}, True),
        ({"compression": "NONE", "use_dictionary": False, "as_lists": True}, False),
    ],
)
@pytest.mark.parametrize("alike", [False, True])  # a dictionary of two numbers is as small as a header
def test_a_file_of_another_writer_gives_the_same_rows(
    tmp_path: Path, options: dict[str, Any], fast: bool, alike: bool
) -> None:
    vectors = np.tile(np.float32([0.6, 0.8]), (40, 3)) if alike else unit_rows(40, 6)
    store = store_of(tmp_path / "store", vectors)
    shard = rewritten(store.shards[0], **dict(options))
    here = Vectors(shard, 6, np.dtype(np.float32))
    assert (here.start is not None) == fast
    store.refresh()
    for rows in (np.arange(40), np.array([39, 3, 3, 0])):
        assert store.rows().take(rows).numpy().tobytes() == vectors[rows].tobytes()
    store.check()


@pytest.mark.parametrize(
    "vectors",
    [
        pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        pa.array([[1.0, 2.0], [None, 5.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        pa.array([[1.0, 2.0], [], [3.0, 4.0, 5.0, 6.0]], pa.list_(pa.float32())),
        pa.array([[1.0, 2.0, 3.0]] * 3, pa.list_(pa.float32())),
    ],
)
def test_rows_that_are_no_vectors_are_refused(tmp_path: Path, vectors: pa.Array) -> None:
    store = store_of(tmp_path / "store", np.float32([[1, 0], [0, 1], [1, 0]]))
    table = pq.read_table(store.shards[0].path)
    at = table.schema.get_field_index("vector")
    with_others = table.set_column(at, "vector", vectors)
    pq.write_table(with_others, store.shards[0].path, compression="NONE", use_dictionary=False)
    store.refresh()
    with pytest.raises(InputError, match="vectors of other lengths than 2, or none in some rows"):
        store.rows().take(np.array([0]))


def test_blocks_that_are_held_are_not_written_over(tmp_path: Path) -> None:
    vectors = unit_rows(40, 4)
    rows = store_of(tmp_path / "store", vectors, shard_rows=7).rows()
    every = list(rows.blocks(3))
    assert torch.equal(torch.cat(every), torch.from_numpy(vectors))
    parts, places = [], set()
    for number, block in enumerate(rows.blocks(3)):
        places.add(block.data_ptr())
        if number % 3 == 0:
            parts.append((number, block[1:2, 1:]))  # a view holds the memory, too
        del block
    assert all(torch.equal(part, torch.from_numpy(vectors[3 * i + 1 : 3 * i + 2, 1:])) for i, part in parts)
    assert len({block.data_ptr() for block in every}) == len(every)
    assert len(places) < len(every)  # what nobody holds is used again


def test_rows_that_there_are_not_are_an_error_and_no_rubbish(tmp_path: Path) -> None:
    rows = store_of(tmp_path / "store", unit_rows(5, 2), shard_rows=2).rows()
    for wrong in ([5], [-1], [0, 7]):
        with pytest.raises(IndexError, match="there are 5"):
            rows.take(np.array(wrong))
    assert rows.take(np.array([], np.int64)).shape == (0, 2)


def test_a_byte_that_turned_is_found(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", unit_rows(20, 3))
    start = Vectors(store.shards[0], 3, np.dtype(np.float32)).start
    assert start is not None
    store.check()
    content = bytearray(store.shards[0].path.read_bytes())
    content[start + 5] ^= 1
    store.shards[0].path.write_bytes(content)
    with pytest.raises(InputError, match=r"00000\.parquet is damaged"):
        EmbeddingStore.open(store.path).check()


@pytest.mark.parametrize("left", [0, 3, 0.5, 0.99, -1])
def test_a_shard_that_was_cut_off_is_named(tmp_path: Path, left: float) -> None:
    store = store_of(tmp_path / "store", unit_rows(9, 3), shard_rows=4)
    path = store.shards[1].path
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if 0 < left < 1 else int(left)])
    with pytest.raises(InputError, match=r"00001\.parquet is no shard of a store, or was cut off .*embedded anew"):
        EmbeddingStore.open(store.path)


def test_a_shard_that_is_cut_off_while_it_is_read_is_named(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", unit_rows(9, 3))
    rows = store.rows()
    rows.take(np.array([0]))
    path = store.shards[0].path
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="cut off while it was read"):
        rows.take(np.array([8]))


def test_a_shard_of_another_run_is_named(tmp_path: Path) -> None:
    one = store_of(tmp_path / "one", unit_rows(4, 3), shard_rows=4)
    other = EmbeddingStore.create(tmp_path / "other", 3, model="another")
    other.append(["x"], unit_rows(1, 3))
    other.shards[0].path.rename(one.path / "00001.parquet")
    with pytest.raises(InputError, match=r"00001\.parquet is of another run than the manifest"):
        EmbeddingStore.open(one.path)


def test_the_header_of_a_page(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", unit_rows(300, 7))
    part = store.shards[0].footer.row_group(0).column(1)
    with store.shards[0].path.open("rb") as stream:
        stream.seek(part.data_page_offset)
        header = stream.read(64)
    page = data_page(header)
    assert page is not None
    assert page.encoding == PLAIN
    assert page.header + page.size == part.total_compressed_size
    for cut in range(page.header):
        assert data_page(header[:cut]) is None


@given(st.binary(max_size=80))
def test_bytes_that_are_no_header_are_none_or_a_page(data: bytes) -> None:
    found = data_page(data)
    assert found is None or isinstance(found, Page)


def test_many_rows_are_one_page_and_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    many = fixed_rows(np.zeros((70_000, 16), np.float32))  # 4.5 MB: several pages, as pyarrow is by default
    write_shard(tmp_path / "a.parquet", {"vector": many}, ("vector",), {"run": "r"})
    assert Vectors(Shard.at(tmp_path / "a.parquet", "r"), 16, np.dtype(np.float32)).start

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fdgpu.files.os.fsync", full)
    with pytest.raises(InputError, match=r"cannot be written .No space left on device"):
        write_shard(tmp_path / "b.parquet", {"vector": many}, ("vector",), {"run": "r"})
    assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]


# --- without us -------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    made = EmbeddingStore.create(tmp_path / "store", 4, shard_rows=3)
    made.append(["a", "b", "c", "d", "e"], unit_rows(5, 4), labels=["cat", "dog", "cat", None, "dog"])
    (made.path / "_answers").mkdir()
    (made.path / "_answers" / "00000.parquet").write_bytes(b"of another kind")
    return made


def test_pyarrow_reads_it(store: EmbeddingStore) -> None:
    table = pq.read_table(store.path)
    assert table.column("id").to_pylist() == ["a", "b", "c", "d", "e"]
    assert table.schema.field("vector").type == pa.list_(pa.field("element", pa.float32(), nullable=False), 4)
    assert np.array_equal(np.array(table.column("vector").to_pylist(), np.float32), unit_rows(5, 4))


def test_pandas_reads_it(store: EmbeddingStore) -> None:
    frame = pytest.importorskip("pandas").read_parquet(store.path)
    assert frame["label"].dropna().tolist() == ["cat", "dog", "cat", "dog"]
    assert np.array_equal(np.stack(frame["vector"]), unit_rows(5, 4))


def test_duckdb_reads_it(store: EmbeddingStore) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = duckdb.read_parquet(f"{store.path}/*.parquet")
    found = files.aggregate("label, count(*), max(vector[1])", "label").order("label")
    rows, x = found.fetchall(), unit_rows(5, 4)[:, 0]
    assert [row[:2] for row in rows] == [("cat", 2), ("dog", 2), (None, 1)]
    assert [np.float32(row[2]) for row in rows] == [x[[0, 2]].max(), x[[1, 4]].max(), x[3]]


def test_half_precision_is_read_without_us(tmp_path: Path) -> None:
    half = store_of(tmp_path / "store", unit_rows(5, 4), "float16")
    frame = pytest.importorskip("pandas").read_parquet(half.path)
    assert np.array_equal(np.stack(frame["vector"]), unit_rows(5, 4).astype(np.float16))
    duckdb = pytest.importorskip("duckdb")
    ((first,),) = duckdb.read_parquet(f"{half.path}/*.parquet").project("vector[1]").limit(1).fetchall()
    assert np.float16(first) == np.float16(unit_rows(5, 4)[0, 0])
