"""A run that is killed at any moment, or whose disk is full, goes on as if nothing had been."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest

from fdgpu import EmbeddingStore
from fdgpu.embedding.opening import class_folders
from fdgpu.errors import InputError
from fdgpu.store.manifest import NAME
from fdgpu.store.writing import AHEAD
from tests.store.tiny import Greys, content, filled, folder_of, shards

NAMES = [f"{label}/{i:03}.png" for label in ("cat", "dog") for i in range(80)]
ROWS, BATCH = 6, 3

# Forks a child for each line that it reads, so that what is imported is imported once. The child tells of every image
# that it embeds, slowly, and is killed by whoever wrote the line.
SERVER = """
import os, sys, time
from pathlib import Path
from tests.store.tiny import Greys, filled
from fdgpu.embedding.opening import class_folders
import torch

torch.set_num_threads(1)

class Tells(Greys):
    def _features(self, pixels):
        os.write(descriptor, b"x" * len(pixels))
        time.sleep(0.004)
        return super()._features(pixels)

for line in sys.stdin:
    photos, store, told, rows = line.split()
    child = os.fork()
    if not child:
        descriptor = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        filled(Path(store), class_folders(Path(photos)), Tells(), whole=True, shard_rows=int(rows))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[bytes]]:
    command, pipe = [sys.executable, "-c", SERVER], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as running:
        assert running.stdin is not None
        yield running
        running.stdin.close()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("photos"), NAMES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    filled(store, class_folders(photos), whole=True, shard_rows=ROWS)
    return store


def run_until(server: Any, line: str, told: Path, images: int | None, by: int, pause: float) -> int:
    """Run once more; kill it when it has embedded so many images, and a moment has passed. Return its exit code."""
    server.stdin.write(f"{line}\n".encode())
    child, before = int(server.stdout.readline()), told.stat().st_size
    ended = False
    while images is not None and not ended and told.stat().st_size < before + images:
        ended = bool(select.select([server.stdout], [], [], 0.0005)[0])
    if images is not None and not ended:
        signal.sigtimedwait([], pause)
        with suppress(ProcessLookupError):
            os.kill(child, by)
    return int(server.stdout.readline())


@pytest.mark.parametrize(("by", "kills"), [(signal.SIGKILL, 20), (signal.SIGTERM, 5)])
def test_kills_at_random_moments_cost_a_shard_each(
    tmp_path: Path, server: Any, photos: Path, whole: Path, by: int, kills: int
) -> None:
    store, told, moments = tmp_path / "store", tmp_path / "told", np.random.default_rng(int(by))
    told.touch()
    line, killed = f"{photos} {store} {told} {ROWS}", 0
    for _ in range(kills):
        images = int(moments.integers(1, 2 * ROWS))
        killed += run_until(server, line, told, images, by, moments.uniform(0, 0.01)) == -by
    assert killed
    assert run_until(server, line, told, None, by, 0) == 0
    assert content(store) == content(whole)
    EmbeddingStore.open(store).check()
    twice = told.stat().st_size - len(NAMES)
    assert (
        0 < twice <= killed * (AHEAD + 1) * (ROWS + BATCH)
    )  # shards that wait for the disk are lost with the one in hand


@pytest.mark.parametrize("room", [0, 1, 5])
@pytest.mark.parametrize("where", ["fdgpu.store.shard.pq.write_table", "fdgpu.files.os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_what_was_finished(
    tmp_path: Path, photos: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, where: str, room: int
) -> None:
    store, plain = tmp_path / "store", resolve_name(where)

    def full(*given: Any, **named: Any) -> Any:
        if (store / NAME).exists() and len(shards(store)) >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): choose a folder"):
            filled(store, class_folders(photos), whole=True, shard_rows=ROWS)
    if room:
        assert shards(store) == [f"{number:05d}.parquet" for number in range(room)]
        EmbeddingStore.open(store).check()
    else:
        assert not store.exists()
    filled(store, class_folders(photos), whole=True, shard_rows=ROWS)
    assert content(store) == content(whole)


def test_files_that_may_not_grow(tmp_path: Path, photos: Path) -> None:
    """The kernel refuses in the middle of a file, as a full disk does."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(InputError, match=r"00000\.parquet cannot be written \(File too large\)"):
            filled(tmp_path / "store", class_folders(photos), whole=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not (tmp_path / "store").exists()


def test_too_little_room_is_said_before_anything_is_embedded(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdgpu.folders.shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    spy = Greys()
    with pytest.raises(InputError, match=r"0\.0 MB are free, and about .* will be written: make room"):
        filled(tmp_path / "store", class_folders(photos), spy)
    assert spy.embedded == 0
    assert not (tmp_path / "store").exists()
