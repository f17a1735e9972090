"""A user's file is read whole, up to a bound; what is no regular file is refused, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fdgpu.errors import InputError
from fdgpu.files import check_regular_file, read_file, read_text_file

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
