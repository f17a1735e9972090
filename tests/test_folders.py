"""A folder is one run's or another's: after a run, a failure, a kill at any moment, and the run after that."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fdgpu import folders
from fdgpu.errors import InputError
from fdgpu.folders import StagedFolder, check_folder, replaced_folder

AUDIT = ("report.html", "audit.json", "examples.parquet")
DECODED = ("decoded/0000-boot/hard-0.1-0.png", "decoded/0001-bag/hard-0.1-0.png")
WORLD = ("predictions.csv", "images/val/boot/0000.png", "images/test/boot/0000.png")
EMPTY = "empty folder"
USERS = ("notes.txt", "store/a/b.bin", "decoded/mine.png", "images/mine.png")


def write(folder: Path, run: str, names: tuple[str, ...]) -> None:
    """Write what a run does: each file says of which run it is, and the listings what belongs to them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(run)
    audit = [name for name in names if name not in WORLD]
    (folder / "audit.json").write_text(json.dumps({"run": run, "files": audit}))
    if set(names) & set(WORLD):
        files = ["truth.json", *(name for name in names if name in WORLD)]
        (folder / "truth.json").write_text(json.dumps({"run": run, "files": files}))


def make(out: str | Path, run: str, names: tuple[str, ...], reads: tuple[Path, ...] = ()) -> None:
    with replaced_folder(out, reads) as folder:
        write(folder.path, run, names)


def add_users(out: Path) -> None:
    for name in USERS:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("user")


def contents(folder: Path) -> dict[str, str]:
    """Every file and empty folder below, with what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or path.is_file():
            found[name] = path.read_text() if path.exists() else str(path.readlink())
        elif not any(path.iterdir()):
            found[name] = EMPTY
    return found


def of_runs(found: dict[str, str]) -> set[str]:
    """The runs that files are of, as the files themselves say."""
    return {json.loads(text)["run"] if name.endswith(".json") else text for name, text in found.items()} - {
        "user",
        EMPTY,
    }


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def whole(run: str, names: tuple[str, ...], place: Path) -> dict[str, str]:
    """What a folder holds into which one run has written."""
    write(place / "expected", run, names)
    return contents(place / "expected")


def test_a_new_folder_appears_when_all_is_written(place: Path) -> None:
    out = place / "deep" / "out"
    with replaced_folder(out) as folder:
        assert folder == StagedFolder(folder.path, out)
        (folder.path / "report.html").write_text("new")
        assert not out.exists()
    assert contents(place) == {"deep/out/report.html": "new"}


def test_the_old_files_go_and_a_users_stay(place: Path) -> None:
    out = place / "out"
    make(out, "old", AUDIT + DECODED + WORLD)
    add_users(out)
    (out / "empty").mkdir(mode=0o700)
    (out / "link").symlink_to("notes.txt")
    (out / "broken").symlink_to("nowhere")
    (out / "store").chmod(0o2750)
    inode = (out / "notes.txt").stat().st_ino
    out.chmod(0o770)
    make(out, "new", AUDIT)
    assert list(place.iterdir()) == [out]
    expected = dict.fromkeys(USERS, "user") | {"empty": EMPTY, "link": "user", "broken": "nowhere"}
    listing = json.dumps({"run": "new", "files": list(AUDIT)})
    assert contents(out) == expected | {"report.html": "new", "examples.parquet": "new", "audit.json": listing}
    assert [(out / name).stat().st_mode & 0o7777 for name in ("", "empty", "store")] == [0o770, 0o700, 0o2750]
    assert (out / "notes.txt").stat().st_ino == inode


def test_what_this_run_reads_stays_with_all_that_belongs_to_it(place: Path) -> None:
    out = place / "out"
    make(out, "demo", AUDIT + DECODED + WORLD)
    (place / "link").symlink_to(out)
    make(out, "new", AUDIT, reads=(place / "elsewhere.png", place / "link" / WORLD[1]))
    kept = {"truth.json", *WORLD}
    found = contents(out)
    assert {name for name, text in found.items() if of_runs({name: text}) == {"demo"}} == kept
    assert found.keys() == kept | set(AUDIT)
    make(out, "newer", AUDIT)
    assert set(contents(out)) == set(AUDIT)  # it is listed still


def test_a_listing_has_to_name_itself(place: Path) -> None:
    """A user's own file of that name is none, and neither is one that reaches out of the folder."""
    out = place / "out"
    add_users(out)
    (place / "outside").write_text("user")
    (out / "truth.json").write_text(json.dumps({"files": list(USERS)}))
    (out / "audit.json").write_text(json.dumps({"files": ["audit.json", "../outside", str(place / "outside"), 5]}))
    make(out, "new", AUDIT)
    assert dict.fromkeys(USERS, "user").items() <= contents(out).items()
    assert "truth.json" in contents(out)
    assert (place / "outside").read_text() == "user"


@pytest.mark.parametrize("text", ["", "[", "[]", "5", '{"files": 5}', '{"files": [[]]}', "[" * 100_000, "\udcff"])
def test_a_damaged_listing_lists_nothing(place: Path, text: str) -> None:
    out = place / "out"
    add_users(out)
    (out / "audit.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    make(out, "new", AUDIT)
    assert contents(out).keys() == {*USERS, *AUDIT}


def test_of_a_folder_in_a_files_place_both_stay(place: Path) -> None:
    out = place / "out"
    (out / "report.html").mkdir(parents=True)
    (out / "report.html" / "mine").write_text("user")
    (out / "decoded").write_text("user")
    make(out, "new", AUDIT + DECODED)
    assert {name for name, text in contents(out).items() if text == "user"} == {"report.html~/mine", "decoded~"}
    assert set(contents(out)) >= {*AUDIT, *DECODED}


def fail(folder: StagedFolder, error: BaseException) -> None:
    write(folder.path, "new", AUDIT)
    raise error


@pytest.mark.parametrize("error", [InputError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_run_that_fails_leaves_everything_as_it_was(place: Path, error: BaseException) -> None:
    make(place / "out", "old", AUDIT + DECODED)
    before = contents(place)
    for out in (place / "out", place / "deep" / "er"):
        with pytest.raises(type(error)), replaced_folder(out) as folder:
            fail(folder, error)
        assert contents(place) == before


def test_a_link_to_a_folder_stays_one(place: Path) -> None:
    make(place / "real", "old", AUDIT + DECODED)
    (place / "out").symlink_to("real")
    make(place / "out", "new", AUDIT)
    assert (place / "out").is_symlink()
    assert sorted(path.name for path in place.iterdir()) == ["out", "real"]
    assert contents(place / "real") == whole("new", AUDIT, place)


def test_the_current_folder_stays_itself(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = place / "out"
    make(out, "old", AUDIT + DECODED + WORLD)
    add_users(out)
    for run, here, given in (("a", out, "."), ("b", out / "store", out), ("c", out, "../out")):
        monkeypatch.chdir(here)
        inode = out.stat().st_ino
        make(given, run, AUDIT + DECODED[:1])
        assert out.stat().st_ino == inode
        assert here.samefile(Path.cwd())
        assert contents(out) == whole(run, AUDIT + DECODED[:1], place) | dict.fromkeys(USERS, "user")
    assert sorted(path.name for path in place.iterdir()) == ["expected", "out"]


def test_a_folder_that_may_not_be_exchanged_is_filled(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = place / "out"
    make(out, "old", AUDIT + DECODED)
    inode = out.stat().st_ino
    mkdir = Path.mkdir

    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.parent == place and path.suffix == ".part":
            raise PermissionError(13, "Permission denied")
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    make(out, "new", AUDIT)
    assert out.stat().st_ino == inode
    monkeypatch.undo()
    assert contents(out) == whole("new", AUDIT, place)


@pytest.mark.parametrize("overlay", [False, True])
def test_without_the_system_call_two_renames_do(place: Path, monkeypatch: pytest.MonkeyPatch, overlay: bool) -> None:
    """On an overlay, a folder of a lower layer cannot be renamed either."""
    out = place / "out"
    make(out, "old", AUDIT + DECODED)
    add_users(out)
    monkeypatch.setattr("fdgpu.folders._exchanged_at_once", lambda *_: False)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if overlay and path == out:
            raise OSError(18, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    make(out, "new", AUDIT)
    assert list(place.iterdir()) == [out]
    assert contents(out) == whole("new", AUDIT, place) | dict.fromkeys(USERS, "user")


def test_without_links_a_users_files_are_moved(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = place / "out"
    make(out, "old", AUDIT + DECODED)
    add_users(out)
    monkeypatch.setattr(os, "link", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "Not permitted")))
    make(out, "new", AUDIT)
    assert list(place.iterdir()) == [out]
    assert contents(out) == whole("new", AUDIT, place) | dict.fromkeys(USERS, "user")


def test_of_two_runs_at_once_the_last_one_wins(place: Path) -> None:
    out = place / "out"
    make(out, "old", AUDIT + DECODED)
    with replaced_folder(out) as first:
        write(first.path, "first", AUDIT + DECODED)
        with replaced_folder(out) as second:
            write(second.path, "second", AUDIT)
            assert first.path.exists()  # it is no leftover
        assert contents(out) == whole("second", AUDIT, place)
    assert contents(out) == whole("first", AUDIT + DECODED, place)
    assert sorted(path.name for path in place.iterdir()) == ["expected", "out"]


@pytest.mark.parametrize("name", ["file", "file/below", "file/far/below"])
def test_what_cannot_be_a_folder_is_said_before(place: Path, name: str) -> None:
    (place / "file").touch()
    with pytest.raises(InputError, match=f"{name} cannot be written"):
        check_folder(place / name)
    with pytest.raises(InputError, match=f"{name} cannot be written"), replaced_folder(place / name):
        pytest.fail("the work began")
    assert list(place.iterdir()) == [place / "file"]


@pytest.mark.parametrize("out", [5, None, b"bytes", "", "nul\0byte", "lone\ud800", ["a"]])
def test_what_is_no_path_is_said(out: Any) -> None:
    with pytest.raises(InputError, match=r"^out is .*: pass the path of a folder$"):
        check_folder(out)


def test_a_folder_that_may_not_be_written_is_said_before(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        check_folder(place / "new")


def test_a_folder_without_room_is_refused(place: Path) -> None:
    check_folder(place / "new" / "out", 1000)
    with pytest.raises(InputError, match=r"MB are free, and about 1000000000000\.0 MB will be written: make room"):
        check_folder(place / "new" / "out", 10**18)


# --- kill -9 before every change of a file or folder ------------------------------------------------------------------

NEW = AUDIT + DECODED[:1]
CHANGES = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.utime", "ctypes.dlsym"}


def kill_before(change: int) -> None:
    """Kill this process before the n-th change that it makes to a file or folder."""
    made = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal made
        opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or opened:
            made += 1
            if made == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed(job: Callable[[], None], change: int) -> bool:
    """Do a job in a process of its own, and kill it before a change; whether there were that many."""
    child = os.fork()
    if not child:
        kill_before(change)
        job()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


def kill_everywhere(root: Path, how: str, step: int = 1) -> None:
    """Kill a run into an old folder before each of its changes, and look at what it and the next run leave."""
    for count in itertools.count(1, step):
        place = root / str(count)
        out = place / "out"
        if how != "missing":
            make(out, "old", AUDIT + DECODED + WORLD)
            add_users(out)
        old = contents(out) if how != "missing" else {}
        users = dict.fromkeys(USERS, "user") if old else {}
        reads = (out / WORLD[0],) if how == "reads" else ()
        new = users | whole("new", NEW, root) | {name: old[name] for name in ("truth.json", *WORLD) if reads}

        def job(out: Path = out, reads: tuple[Path, ...] = reads) -> None:
            if how == "within":
                os.chdir(out)
            make(out, "new", NEW, reads)

        if not killed(job, count):
            break
        found = contents(out) if out.exists() else {}
        if how == "within":  # a part of one run, and the page means that it is whole
            found = {name: text for name, text in found.items() if not name.startswith(".")}
            assert len(of_runs(found)) <= 1, found
            assert "report.html" not in found or found in (old, new), found
            assert users.items() <= found.items()
        elif how == "no links":  # for a moment a user's files are with the old folder
            users_apart = [{k: v for k, v in one.items() if v not in ("user", EMPTY)} for one in (found, old, new)]
            assert users_apart[0] in users_apart[1:], found
        else:
            assert found in (old, new) or (how == "two renames" and not out.exists()), found
            if not out.exists() and old:
                with suppress(KeyboardInterrupt), replaced_folder(out):
                    raise KeyboardInterrupt
                assert contents(out) == old
        make(out, "next", AUDIT)
        assert contents(place) == {
            f"out/{name}": text for name, text in (users | whole("next", AUDIT, root / "next")).items()
        }
    print(json.dumps(count - 1))


HOW = {"exchange": 2, "missing": 1, "reads": 4, "within": 2, "two renames": 3, "no links": 3}  # every how manyth change


@pytest.mark.parametrize(("how", "step"), HOW.items())
def test_a_run_that_is_killed_leaves_no_mix_and_the_next_run_no_stray_file(tmp_path: Path, how: str, step: int) -> None:
    code = (
        f"from tests.test_folders import *; prepare({how!r}); kill_everywhere(Path({str(tmp_path)!r}), {how!r}, {step})"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-3000:]
    assert int(child.stdout) >= (10 if how == "missing" else 30)


def prepare(how: str) -> None:
    """In a process that is about to be killed: a system without a call or without links."""
    if how == "two renames":
        folders._exchanged_at_once = lambda *_: False
    if how == "no links":
        folders._link = lambda *_: None
