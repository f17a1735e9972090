"""Shards of WebDataset's writer, tar and zip files, and addresses that fsspec opens."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import fsspec
import pytest
import webdataset as wds

from fdgpu.embedding import archive_source, image_source
from fdgpu.embedding.archives import expanded
from fdgpu.errors import InputError
from tests.embedding.greys import encoded, grey, seen, shown

LEVELS = [10, 60, 110, 160, 210]
TOLD = [(f"k{i}.png", level, i % 2, None) for i, level in enumerate(LEVELS)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of three and two images, with classes."""
    with wds.ShardWriter(str(tmp_path / "part-%03d.tar"), maxcount=3, verbose=0) as writer:
        for i, level in enumerate(LEVELS):
            writer.write({"__key__": f"k{i}", "png": grey(level), "cls": i % 2, "json": {"label": "not this"}})
    return tmp_path


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            file.addfile(about, io.BytesIO(content))
    return path


def webdataset(shards: Path, **settings: object) -> wds.WebDataset:
    return wds.WebDataset(str(shards / "part-{000..001}.tar"), **{"shardshuffle": False, **settings})


@pytest.mark.parametrize("named", ["part-{000..001}.tar", "part-*.tar", "part-{000,001}.tar"])
def test_shards_by_a_pattern(shards: Path, named: str) -> None:
    source = image_source(str(shards / named))
    assert seen(source) == TOLD
    assert shown(source, 4, 0, 7) == [210, 10, None]


def test_shards_by_a_list(shards: Path) -> None:
    assert seen(image_source(sorted(shards.glob("*.tar")))) == TOLD
    assert seen(image_source(shards / "part-001.tar")) == TOLD[3:]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves shards to the collector
@pytest.mark.parametrize("decoded", [False, True])
def test_an_object_of_webdataset(shards: Path, decoded: bool) -> None:
    data = webdataset(shards)
    source = image_source(data.decode("pil") if decoded else data)
    assert seen(source) == TOLD
    assert shown(source, 4, 0, 7) == [210, 10, None]
    pairs = image_source(webdataset(shards).decode("pil").to_tuple("png", "cls"))
    assert seen(pairs) == [(str(i), *rest) for i, (_, *rest) in enumerate(TOLD)]
    with pytest.raises(InputError, match=r"a sample of the WebDataset is .*\.to_tuple"):
        seen(image_source(webdataset(shards).to_tuple("png", "cls", "json")))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_what_a_webdataset_shuffles_is_found_again_by_id(shards: Path) -> None:
    source = image_source(webdataset(shards).shuffle(10))
    told = seen(source)
    assert sorted(told) == TOLD
    assert shown(source, 0, 3) == [told[0][1], told[3][1]]


def test_a_compressed_tar_of_folders_has_ids_by_path(tmp_path: Path) -> None:
    members = {"photos/a.b/1.png": encoded(10), "photos/README": b"x", "photos/2.left.png": encoded(60)}
    source = image_source(tar(tmp_path / "photos.tar.gz", members, "w:gz"))
    assert seen(source) == [("photos/a.b/1.png", 10, None, None), ("photos/2.left.png", 60, None, None)]
    assert shown(source, 1) == [60]


@pytest.mark.parametrize(
    ("beside", "label"),
    [
        ({"cls": b"007"}, 7), ({"cls": b" tench \n"}, "tench"), ({"json": b'{"label": "cat", "x": 1}'}, "cat"),
        ({"json": b'{"class": 3}'}, 3), ({"json": b"{not json"}, None), ({"txt": b"dog"}, "dog"),
        ({"cls": b"1", "txt": b"a caption"}, 1), ({}, None),
    ],
)  # fmt: skip
def test_labels_of_a_key(beside: dict[str, bytes], label: object, tmp_path: Path) -> None:
    members = {f"a.{name}": content for name, content in beside.items()}
    (told,) = seen(image_source(tar(tmp_path / "one.tar", {**members, "a.png": encoded(10)})))
    assert told == ("a.png", 10, label, None)


def test_several_images_of_a_key(tmp_path: Path) -> None:
    path = tar(tmp_path / "pairs.tar", {"a.left.png": encoded(10), "a.right.png": encoded(60), "a.fine": b"3"})
    with pytest.raises(InputError, match=r"'a' has 2 images, left.png and right.png: .*image='left.png'"):
        image_source(path)
    assert seen(archive_source(path, image="right.png", label="fine")) == [("a.right.png", 60, 3, None)]
    with pytest.raises(InputError, match=r"name members of tar shards"):
        archive_source("photos.zip", image="jpg")


def test_a_key_without_an_image_is_skipped_with_the_reason(tmp_path: Path) -> None:
    members = {"a.png": encoded(10), "b.cls": b"1", "c.png": b"no picture", "classes.txt": b"cat dog"}
    told = seen(image_source(tar(tmp_path / "gaps.tar", members)))
    assert [own for own, *_ in told] == ["a.png", "b", "c.png"]
    assert told[1][1] == "has no image beside it: the members of one key have to follow each other"
    assert told[2][1] == "is not an image"


def test_the_second_of_two_alike_has_its_position(tmp_path: Path) -> None:
    for shard in "xy":
        tar(tmp_path / f"{shard}.tar", {"a.png": encoded(10), "b.png": encoded(60)})
    assert [own for own, *_ in seen(image_source(str(tmp_path / "?.tar")))] == ["a.png", "b.png", "a.png#2", "b.png#3"]


@pytest.mark.parametrize("left", [1 << 10, 512 * 3, 512 * 4, 512 * 4 + 100])
def test_a_tar_that_is_cut_off(left: int, tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole.tar", {f"{i}.png": encoded(10) for i in range(4)}).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[:left])
    with pytest.raises(InputError, match=r"cut.tar cannot be read on after [12] members, the last of them '[01].png'"):
        image_source(cut)
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(whole)[:-100])
    with pytest.raises(InputError, match=r"cut.tar.gz cannot be read on .*copy or download it again"):
        seen(image_source(tmp_path / "cut.tar.gz"))


def test_a_tar_with_something_else_inside_or_behind_it(tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole.tar", {f"{i}.png": encoded(10) for i in range(4)}).read_bytes()
    for content in (whole + whole, whole[:2048] + b"garbage!" * 64 + whole[2560:]):
        for path, own in ((tmp_path / "odd.tar", content), (tmp_path / "odd.tgz", gzip.compress(content))):
            path.write_bytes(own)
            with pytest.raises(InputError, match="what follows is no member"):
                seen(image_source(path))


def test_archives_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar at all" * 100)
    (tmp_path / "text.zip").write_text("no zip at all")
    with ZipFile(tmp_path / "notes.zip", "w") as file:
        file.writestr("notes.txt", "no image")
    for name, said in (
        ("text.tar", "cannot be read on at its beginning"),
        ("absent.tar", "does not exist"),
        ("text.zip", "is no zip file, or was cut off"),
        ("absent.zip", "does not exist"),
        ("notes.zip", "holds no image"),
    ):
        with pytest.raises(InputError, match=f"{name}.* {said}"):
            image_source(tmp_path / name)
    with pytest.raises(InputError, match="holds no image"):
        image_source(tar(tmp_path / "notes.tar", {"notes.txt": b"x"}))


def test_a_zip_file(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "photos.zip", "w") as file:
        for name, level in (("b/2.png", 60), ("a/1.PNG", 10), ("b/3.png", 110)):
            file.writestr(name, encoded(level))
        file.writestr("b/notes.txt", "no image")
    for address in (tmp_path / "photos.zip", f"zip://::file://{tmp_path}/photos.zip"):
        source = image_source(address)
        assert source.count == 3
        assert seen(source) == [
            (own, level, None, None) for own, level in (("a/1.PNG", 10), ("b/2.png", 60), ("b/3.png", 110))
        ]
        assert shown(source, 2, 0) == [110, 10]
    assert image_source(f"zip://b::file://{tmp_path}/photos.zip").ids == ["2.png", "3.png"]


@pytest.fixture
def memory() -> Iterator[str]:
    files = fsspec.filesystem("memory")
    for name, content in (("a.png", encoded(10)), ("b/c.png", encoded(60)), ("b/bad.png", b"?")):
        files.pipe_file(f"/photos/{name}", content)
    yield "memory://photos"
    files.rm("/photos", recursive=True)


def test_a_folder_and_images_behind_addresses(memory: str) -> None:
    source = image_source(memory)
    assert seen(source) == [
        ("a.png", 10, None, None), ("b/bad.png", "is not an image", None, None), ("b/c.png", 60, None, None)
    ]  # fmt: skip
    assert shown(source, 2, 1) == [60, None]
    urls = [f"{memory}/b/c.png", f"{memory}/gone.png"]
    (one, gone) = seen(image_source(urls))
    assert one == (urls[0], 60, None, None)
    assert (gone[0], str(gone[1])[:16]) == (urls[1], "cannot be loaded")
    assert seen(image_source(url for url in urls)) == [one, gone]
    assert image_source(urls[0]).ids == ["c.png"]


def test_a_tar_and_parquet_behind_an_address(shards: Path) -> None:
    assert seen(image_source(f"file://{shards}/part-{{000..001}}.tar")) == TOLD


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_images_and_shards_of_the_web(web: str, shards: Path) -> None:
    grey(60).save(shards / "a.png")
    assert seen(image_source([f"{web}/a.png"])) == [(f"{web}/a.png", 60, None, None)]
    assert seen(image_source(f"{web}/part-{{000..001}}.tar")) == TOLD
    (told,) = seen(image_source([f"{web}/gone.png"]))
    assert "cannot be loaded" in str(told[1])
    with pytest.raises(InputError, match=r"gone.tar.*(does not exist|does not answer)"):
        image_source(f"{web}/gone.tar")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9/part.tar", "part.tar does not answer .*look whether it can be reached"),
        ("http://127.0.0.1:9/photos/", "does not answer"),
        ("nowhere://photos", "does not answer .*Protocol not known"),
        ("memory://absent", "does not exist"),
        ("memory://absent.tar", "does not exist"),
    ],
)
def test_an_address_that_does_not_answer(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        image_source(address)


def test_a_library_that_a_protocol_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(_: str, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", lacking)
    with pytest.raises(InputError, match="needs a library that is not installed, see: Install s3fs"):
        image_source("s3://bucket/photos")


def test_patterns_are_written_out(tmp_path: Path) -> None:
    assert expanded("a-{08..11}-{x,y}.tar") == [f"a-{i:02}-{own}.tar" for i in range(8, 12) for own in "xy"]
    assert expanded("s3://b/{0..1}.tar") == ["s3://b/0.tar", "s3://b/1.tar"]
    odd = tmp_path / "really{0..1}.tar"
    odd.touch()
    assert expanded(str(odd)) == [str(odd)]
    with pytest.raises(InputError, match="no file is called"):
        expanded(str(tmp_path / "*.zip"))
