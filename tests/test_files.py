"""A user's file is read whole, up to a bound, and a pipe is never waited for; a file is written whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from safetensors.numpy import load_file

from fdgpu.errors import InputError
from fdgpu.files import (
    check_regular_file,
    read_file,
    read_text_file,
    write_atomically,
    write_png,
    write_safetensors,
    written_atomically,
)

WHAT = "a text file of class names"


def test_a_file_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    assert read_text_file(path, 11, WHAT) == read_text_file(str(path), 11, WHAT) == "cat\ndog\n"
    assert read_file(path, 11, WHAT) == b"\xef\xbb\xbfcat\ndog\n"
    with pytest.raises(InputError, match=r"names.txt is larger than 10 bytes: pass a text file of class names"):
        read_file(path, 10, WHAT)


def test_what_is_not_utf_8_names_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match=r"not UTF-8 text \(byte 3: .*save it as UTF-8"):
        read_text_file(path, 100, WHAT)


def test_pipes_devices_and_folders_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(InputError, match=r"is a pipe, a socket or a device, no regular file: pass a text file"):
            read_text_file(path, 100, WHAT)
    with pytest.raises(InputError, match="is a folder, no regular file"):
        read_text_file(tmp_path, 100, WHAT)


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("fdgpu.files.check_regular_file", lambda path, _: Path(path))
    assert read_file(tmp_path / "pipe", 100, WHAT) == b""


@pytest.mark.parametrize("path", ["missing", "nul\0byte", "lone\ud800", "x" * 5000, None, 3, b"bytes", ["a"], ""])
def test_no_path_at_all(path: Any) -> None:
    with pytest.raises(InputError, match=WHAT) as caught:
        check_regular_file(path, WHAT)
    str(caught.value).encode()  # can be printed


# --- writing --------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_of_a_file_goes_with_the_next_save(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    write_atomically(path, b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from fdgpu.files import written_atomically\n"
        "with written_atomically(Path(sys.argv[1])) as stream:\n"
        "    stream.write(bytes(100_000)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2
    write_atomically(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_that_write_one_file_each_does_it_whole(tmp_path: Path) -> None:
    path, began = tmp_path / "index", threading.Event()

    def slowly() -> None:
        with written_atomically(path) as stream:
            began.set()
            for _ in range(20):
                stream.write(b"a" * 1000)
                stream.flush()
                time.sleep(0.005)

    thread = threading.Thread(target=slowly)
    thread.start()
    began.wait()
    write_atomically(path, b"b")
    thread.join()
    assert path.read_bytes() == b"b"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "index"
    write_atomically(path, b"old")
    with pytest.raises(TypeError), written_atomically(path) as stream:
        stream.writelines([b"new", 5])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_in_the_place_of_the_unfinished_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".index.part").symlink_to("victim")
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "index", b"new")
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("write", [write_atomically, lambda path, _: write_png(path, np.zeros((2, 2, 3), np.uint8))])
def test_a_full_disk_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, bytes], None]
) -> None:
    def full(_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", lambda *_: contextmanager(full)(None))
    with pytest.raises(InputError, match=r"x.png cannot be written \(No space left on device\): choose a folder"):
        write(tmp_path / "x.png", b"new")
    assert not any(tmp_path.iterdir())


def test_an_array_is_written_as_it_reads_however_it_lies_in_memory(tmp_path: Path) -> None:
    lying = np.arange(24.0).reshape(2, 3, 4).transpose(0, 2, 1)
    write_safetensors(tmp_path / "a.safetensors", {"turned": lying, "every second": lying[:, ::2], "none": lying[:0]})
    read = load_file(tmp_path / "a.safetensors")
    assert np.array_equal(read["turned"], lying)
    assert np.array_equal(read["every second"], lying[:, ::2])
    assert read["none"].shape == (0, 4, 3)
