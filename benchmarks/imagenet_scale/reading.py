"""How fast a store is read, beside ``dd`` and pyarrow alone, from the page cache: rounds alternate, the best counts."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from fdgpu import EmbeddingStore

BLOCK = 8192  # rows at a time
MOST_COPIED = 1 << 30  # bytes of the one file that dd reads


@dataclass(frozen=True)
class Rate:
    """One line: 10^9 bytes a second, and its share of what ``dd`` reads."""

    reader: str
    gb_a_second: float
    of_dd: float


def rates(store: Path, rounds: int = 5) -> list[Rate]:
    """Read a store's vectors by each reader, every one of which reads all of them."""
    opened = EmbeddingStore.open(store)
    shards = [shard.path for shard in opened.shards]
    held = len(opened) * opened.rows().shape[1] * opened.rows().dtype.itemsize
    with TemporaryDirectory(dir=store.parent) as folder:
        one_file = Path(folder) / "bytes"
        copied = _joined(shards, one_file)
        readers: dict[str, tuple[int, Callable[[], object]]] = {
            "dd": (copied, lambda: _dd(one_file)),
            "fdgpu": (held, lambda: _ours(opened)),
            "pyarrow": (held, lambda: [pq.read_table(shard, columns=["vector"]) for shard in shards]),
        }
        best = dict.fromkeys(readers, float("inf"))
        for _ in range(rounds):
            for name, (_, read) in readers.items():
                start = time.perf_counter()
                read()
                best[name] = min(best[name], time.perf_counter() - start)
    found = {name: size / best[name] / 1e9 for name, (size, _) in readers.items()}
    return [Rate(name, rate, rate / found["dd"]) for name, rate in found.items()]


def _joined(shards: list[Path], path: Path) -> int:
    """Copy the bytes of some shards into one file; return how many."""
    with path.open("wb") as stream:
        for shard in shards:
            if stream.tell() >= MOST_COPIED:
                break
            with shard.open("rb") as one:
                shutil.copyfileobj(one, stream, 1 << 22)
        return stream.tell()


def _dd(path: Path) -> None:
    subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=8M", "status=none"], check=True)  # noqa: S603, S607


def _ours(store: EmbeddingStore) -> None:
    for _ in store.rows().blocks(BLOCK):
        pass
