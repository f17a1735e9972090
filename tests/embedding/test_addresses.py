"""Zip files, addresses that fsspec opens, among them those of a server, and patterns of several."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zipfile import ZipFile

import fsspec
import pytest
from webdataset import ShardWriter

from fdgpu.embedding import image_source
from fdgpu.embedding.archives import expanded
from fdgpu.errors import InputError
from tests.embedding.greys import encoded, grey, seen, shown


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


def test_images_and_shards_of_the_web(web: str, tmp_path: Path) -> None:
    grey(60).save(tmp_path / "a.png")
    with ShardWriter(str(tmp_path / "part-%03d.tar"), maxcount=1, verbose=0) as writer:
        for key in "xy":
            writer.write({"__key__": key, "png": grey(110), "cls": 3})
    assert seen(image_source([f"{web}/a.png"])) == [(f"{web}/a.png", 60, None, None)]
    assert seen(image_source(f"{web}/part-{{000..001}}.tar")) == [(f"{key}.png", 110, 3, None) for key in "xy"]
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
