"""Which files are pictures, which decoder takes them, and why a file has none."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fdgpu import ClipEmbedder
from fdgpu.embedding import image_file, picture
from fdgpu.embedding.image_file import made_of_file, picture_formats, read_picture, suffixes, torchcodec_decoders
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.picture import Picture, Treatment
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.sources import FileSource
from fdgpu.errors import InputError
from tests.embedding.test_picture import png_of_16_bits

ORIENTATION = 0x0112
decoders = torchcodec_decoders()
needs_torchcodec = pytest.mark.skipif(isinstance(decoders, str), reason=str(decoders))


def same(images: Tensor) -> Tensor:
    return images


def photograph(h: int = 45, w: int = 67) -> Image.Image:
    """Smooth, so that JPEG's chroma is upsampled from something."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)).resize((w, h))


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Picture | str:
    with monkeypatch.context() as patched:
        patched.setattr(image_file, "torchcodec_decoders", lambda: "not installed")
        return read(content)


def read(content: bytes) -> Picture | str:
    try:
        return read_picture(content)
    except InputError as error:
        return str(error)


def equal(one: Picture | str, other: Picture | str) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return torch.equal(one.pixels, other.pixels) and one.treated == other.treated


# --- which decoder ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The functions of torchcodec that were asked, in order."""
    if isinstance(decoders, str):
        pytest.skip(decoders)
    names: list[str] = []

    def recording(name: str) -> Any:
        def decode(*args: Any, **kwargs: Any) -> Tensor:
            names.append(name)
            return getattr(decoders, name)(*args, **kwargs)

        return decode

    stand_in = SimpleNamespace(**{name: recording(name) for name in ("decode_jpeg", "decode_png", "decode_image")})
    monkeypatch.setattr(image_file, "torchcodec_decoders", lambda: stand_in)
    return names


JPEGS = {
    "baseline": {"quality": 80}, "progressive": {"progressive": True}, "every pixel's colour": {"subsampling": 0},
    "restarts": {"restart_marker_blocks": 3}, "of a thumbnail": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
}  # fmt: skip


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_is_decoded_bit_for_bit_as_pillow_does(
    mode: str, options: dict[str, Any], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = written(photograph().convert(mode), "JPEG", **options)
    assert equal(read(content), by_pillow(content, monkeypatch))
    assert asked == ["decode_jpeg"]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_png_is_decoded_bit_for_bit_as_pillow_does(
    mode: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = written(photograph().convert(mode), "PNG")
    assert equal(read(content), by_pillow(content, monkeypatch))
    assert asked == ["decode_png"]


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'  # noqa: E501


@pytest.mark.parametrize("value", range(1, 9))
def test_a_jpeg_is_turned_once_by_what_pillow_knows(
    value: int, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({"exif": oriented(value)}, {"xmp": XMP.replace(b"6", b"%d" % value)}):
        content = written(photograph(), "JPEG", **options)
        assert equal(read(content), by_pillow(content, monkeypatch))
    assert asked == ["decode_jpeg", "decode_jpeg"]


def behind_the_pixels(png: bytes) -> bytes:
    """Move the chunk with the orientation to the end."""
    at = png.index(b"eXIf") - 4
    length = 12 + int.from_bytes(png[at : at + 4], "big")
    chunk, rest = png[at : at + length], png[:at] + png[at + length :]
    return rest[:-12] + chunk + rest[-12:]


def not_plain() -> dict[str, bytes]:
    """Files that are more than plain pixels, and those of formats at which Pillow is faster or stricter."""
    image = photograph()
    clear = image.convert("RGBA")
    clear.putalpha(image.getchannel("R"))
    palette = image.quantize(16)
    frames: dict[str, Any] = {"save_all": True, "append_images": [image]}
    grey = Image.fromarray(np.linspace(0, 65535, 54).astype(np.uint16).reshape(6, 9))
    return {
        "CMYK": written(image.convert("CMYK"), "JPEG"),
        "alpha": written(clear, "PNG"),
        "a clear colour": written(image, "PNG", transparency=image.getpixel((0, 0))),
        "a clear colour of a palette": written(palette, "PNG", transparency=3),
        "16 bits": written(grey, "PNG"),
        "16 bits of colour": png_of_16_bits(np.random.default_rng(0).integers(0, 65536, (6, 9, 3)).astype(np.uint16)),
        "frames": written(image, "PNG", **frames),
        "turned PNG": written(image, "PNG", exif=oriented(6)),
        "PNG turned behind its pixels": behind_the_pixels(written(image, "PNG", exif=oriented(6))),
        "WebP": written(image, "WEBP"),
        "GIF": written(image, "GIF"),
        "TIFF": written(image, "TIFF"),
    }


@pytest.mark.parametrize("name", not_plain())
def test_what_is_not_plain_is_pillows(name: str, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(not_plain()[name])
    assert isinstance(found, Picture)
    assert equal(found, by_pillow(not_plain()[name], monkeypatch))
    assert (Treatment.ORIENTED in found.treated) is ("turned" in name)
    assert asked == []


def test_what_torchcodec_refuses_is_judged_by_pillow(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    jpeg, png = written(photograph(), "JPEG"), written(photograph(), "PNG")
    for content in (jpeg[:-200], jpeg[:-2], png[: len(png) // 2], png[:-20], jpeg[:30] + jpeg[60:]):
        assert equal(read(content), by_pillow(content, monkeypatch))
    assert str(read(jpeg[:-200])).startswith("cannot be decoded (image file is truncated")
    assert set(asked) == {"decode_jpeg", "decode_png"}


def test_paths_bytes_and_open_files_are_one_picture(tmp_path: Path) -> None:
    content = written(photograph(), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    stream = BytesIO(content)
    stream.seek(0, os.SEEK_END)
    with (tmp_path / "a.png").open("rb") as opened:
        forms = [content, tmp_path / "a.png", bytearray(content), memoryview(content), stream, opened]
        (batch,) = image_source([*forms, lambda: content]).batches(9, same)
        assert not opened.closed
    assert batch.unreadable == {}
    assert all(torch.equal(one, batch.pixels[0]) for one in batch.pixels)


def test_bytes_that_are_no_picture_are_named() -> None:
    class Gone:
        def seekable(self) -> bool:
            raise KeyError("the connection was lost")

        def read(self) -> bytes:
            raise AssertionError

    (batch,) = image_source([b"\x89PNG", BytesIO(b""), Gone(), b""]).batches(9, same)
    reasons = ["is not an image", "is not an image", "cannot be read ('the connection was lost')", "is not an image"]
    assert list(batch.unreadable.values()) == reasons


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named 'torchcodec'", name="torchcodec"), "torchcodec is not installed"),
        (OSError("libx.so: undefined symbol"), r"torchcodec cannot be imported: .* \(libx.so: undefined symbol\)"),
        (RuntimeError("Could not load"), r"torchcodec cannot be imported: .* \(Could not load\)"),
        (None, r"this torchcodec has no decoders of images: 0\.16 or later has"),
        ("2.10.0+cu128", r"torchcodec decodes images with torch 2\.11 or later, and this is 2\.10\.0\+cu128"),
    ],
)
def test_without_torchcodec_pillow_does_everything(
    error: Exception | str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> ModuleType:
        assert name == "torchcodec.decoders"
        assert not isinstance(error, str)
        if error:
            raise error
        return ModuleType(name)

    content = written(photograph(), "JPEG")
    expected = read(content)
    monkeypatch.setattr(image_file.importlib, "import_module", load)
    if isinstance(error, str):
        monkeypatch.setattr(torch, "__version__", error)
    torchcodec_decoders.cache_clear()
    image_file._stands_in.cache_clear()
    try:
        assert re.fullmatch(reason, str(torchcodec_decoders()))
        assert equal(read(content), expected)
        assert ".heic" not in suffixes()
    finally:
        torchcodec_decoders.cache_clear()
        image_file._stands_in.cache_clear()


# --- AVIF and HEIC where Pillow has no plugin -------------------------------------------------------------------------


@pytest.fixture
def without_avif(monkeypatch: pytest.MonkeyPatch) -> None:
    picture_formats()
    monkeypatch.setattr(Image, "OPEN", {name: how for name, how in Image.OPEN.items() if name != "AVIF"})


def avif(image: Image.Image, **options: Any) -> bytes:
    if "AVIF" not in picture_formats():
        pytest.skip("this Pillow writes no AVIF")
    return written(image, "AVIF", **options)


@needs_torchcodec
def test_torchcodec_stands_in_for_a_pillow_without_avif(request: pytest.FixtureRequest) -> None:
    image = photograph(48, 64)
    clear = image.convert("RGBA")
    clear.putalpha(image.getchannel("R"))
    contents = [avif(image), avif(clear), avif(image, save_all=True, append_images=[photograph(48, 64)])]
    expected = [read_picture(content) for content in contents]
    request.getfixturevalue("without_avif")
    assert ".avif" in suffixes()
    for content, one in zip(contents, expected, strict=True):
        found = read_picture(content)
        assert (found.pixels.int() - one.pixels.int()).abs().max() <= 1
        assert found.treated == one.treated
    with pytest.raises(InputError, match=r"^cannot be decoded \((?!.*\.cpp)"):
        read_picture(contents[0][:-30])


def test_a_heic_is_decoded_where_libheif_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    if ".heic" not in suffixes():
        pytest.skip("no libheif")
    monkeypatch.setattr(Image, "OPEN", {name: how for name, how in Image.OPEN.items() if name not in ("HEIF", "AVIF")})
    stream = BytesIO()
    pillow_heif.from_pillow(photograph(48, 64)).save(stream, quality=95)
    found = read_picture(stream.getvalue())
    expected = torch.from_numpy(np.array(photograph(48, 64))).movedim(-1, 0)
    assert found.pixels.shape == expected.shape
    assert (found.pixels.int() - expected.int()).abs().float().mean() < 10
    assert found.treated == ()


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'


@pytest.fixture
def without_libheif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "_stands_in", lambda suffix: suffix == ".avif")


@pytest.mark.usefixtures("without_libheif")
def test_a_picture_of_another_package_names_it(tmp_path: Path) -> None:
    for name, content in (("a.heic", HEIC), ("b.HEIF", HEIC), ("c.svg", SVG)):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        InputError, match=r"holds no image that can be read here: 1 files end in \.heic, which needs libheif"
    ):
        image_source(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "d.png")
    (batch,) = image_source(tmp_path).batches(9, same)
    assert batch.ids == ["a.heic", "b.HEIF", "c.svg", "d.png"]
    assert {path: reason.split(" (")[0] for path, reason in batch.unreadable.items()} == {
        "a.heic": "needs libheif for torchcodec",
        "b.HEIF": "needs libheif for torchcodec",
        "c.svg": "is a drawing and no pixels: convert it to PNG, as by cairosvg",
    }


def test_a_folder_is_searched_for_every_picture_that_pillow_opens(tmp_path: Path) -> None:
    known = suffixes()
    assert known == sorted(known)
    assert {".jpg", ".jfif", ".jpe", ".png", ".webp", ".pgm", ".pnm", ".jp2", ".tga", ".bmp", ".gif", ".tif"} <= {
        *known
    }
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".h5", ".hdf", ".mpg", ".iim", ".grib", ".bufr"} & {*known}
    image = photograph(6, 9)
    for suffix, kind in ((".jfif", "JPEG"), (".jpe", "JPEG"), (".pgm", "PPM"), (".tga", "TGA"), (".JP2", "JPEG2000")):
        (image.convert("L") if suffix == ".pgm" else image).save(tmp_path / f"a{suffix}", kind)
    if ".avif" in known:
        image.save(tmp_path / "a.avif")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    (batch,) = image_source(tmp_path).batches(99, lambda pixels: pixels[:, :6, :6])
    assert len(batch.ids) == (6 if ".avif" in known else 5)
    assert batch.unreadable == {}


def test_a_plugin_that_was_registered_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes()
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, "HEIF": (None, None)})
    monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
    assert ".heic" in suffixes()


def test_postscript_is_never_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    (batch,) = FileSource([tmp_path / "a.png"], ["a"]).batches(1, same)
    assert batch.unreadable == {"a": "is not an image"}


def test_paths_that_are_no_files_do_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        one.bind("socket.png")
    names = ["fifo.png", "folder.png", "socket.png", "device.png", "loop.png", "none.png", "a\0b.png"]
    paths = [tmp_path / name for name in names] + [Path("https://example.com/a.jpg"), Path("x" * 5000)]
    source = FileSource(paths, [*names, "url", "long"])
    (batch,) = source.batches(99, same)
    assert batch.unreadable.pop("loop.png").startswith("cannot be decoded ([Errno")
    assert batch.unreadable.pop("long").startswith("cannot be decoded ([Errno")
    assert batch.unreadable == {
        "fifo.png": "is a FIFO, and no image file",
        "folder.png": "is a folder, and no image file",
        "socket.png": "is a socket, and no image file",
        "device.png": "is a device, and no image file",
        "none.png": "does not exist",
        "a\0b.png": "cannot be decoded (embedded null byte)",
        "url": "is an address (https://): download it and pass its path",
    }
    assert source.pictures([0, 3], 9) == [None, None]
    assert source.reason(0) == "is a FIFO, and no image file"


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, side in enumerate((40, 8, 40, 8, 40, 40)):
        Image.new("RGB", (side, side), (i, i, i)).save(tmp_path / f"{i}.png")
    plain, arrived, now, most, wanted = image_file.as_unchecked_picture, threading.Condition(), [0], [0], [0]

    def slow(image: Image.Image) -> Picture:
        if image.width < 40:
            return plain(image)
        with arrived:
            now[0] += 1
            most[0] = max(most[0], now[0])
            arrived.notify_all()
            arrived.wait_for(lambda: most[0] >= wanted[0], timeout=30)  # until all that may be here are
        time.sleep(0.02)  # and for one too many to come
        made = plain(image)
        with arrived:
            now[0] -= 1
        return made

    monkeypatch.setattr(image_file, "as_unchecked_picture", slow)
    monkeypatch.setattr(image_file, "torchcodec_decoders", lambda: "not installed")
    monkeypatch.setattr("fdgpu.embedding.loading.cpu_count", lambda: 6)
    for large, expected in ((1000, 1), (2000, 4)):
        monkeypatch.setattr(picture, "LARGE", large)
        most[0], wanted[0] = 0, expected
        (batch,) = image_source(tmp_path).batches(9, lambda pixels: pixels[:, :8, :8])
        assert batch.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert most[0] == expected


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "CMYK", "I;16"])
def test_a_large_picture_is_averaged_far_above_the_models_size(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 12, 4), dtype=np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize((300, 201)).convert("RGBA" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[ORIENTATION] = 8
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path, exif=exif)
    config = {"size": 16, "mean": (0,) * 3, "std": (1,) * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    resize = Preprocess.of_model(config).resize

    def small(whole: Picture) -> Picture:
        return replace(whole, pixels=resize(whole.pixels))

    expected = made_of_file(path, small)
    monkeypatch.setattr(picture, "LARGE", 10_000)
    whole, large = read_picture(path), made_of_file(path, small)
    assert whole.pixels.shape == (3, 100, 67)
    assert whole.treated == expected.treated
    assert Treatment.ORIENTED in whole.treated
    scale = 255 if large.pixels.is_floating_point() else 1
    assert (large.pixels.float() - expected.pixels.float()).abs().max() * scale <= 3


def test_a_decompression_bomb_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (4000, 4000)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    (batch,) = image_source(tmp_path).batches(1, same)
    assert "decompression bomb" in batch.unreadable["a.png"]


# --- reduced decoding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "smallest", "expected"),
    [
        ((400, 304), None, (400, 304)),
        ((400, 304), 300, (400, 304)),
        ((400, 304), 152, (200, 152)),
        ((400, 304), 100, (200, 152)),
        ((400, 304), 76, (100, 76)),
        ((400, 304), 20, (50, 38)),
        ((304, 400), 76, (76, 100)),
        ((1600, 30), 20, (1600, 30)),
        ((1602, 800), 50, (801, 400)),
        ((1601, 800), 50, (1601, 800)),
    ],
)
def test_a_jpeg_is_decoded_at_a_fraction_that_keeps_enough_pixels(
    size: tuple[int, int], smallest: int | None, expected: tuple[int, int]
) -> None:
    image = photograph(size[1], size[0])
    for content in (written(image, "JPEG"), written(image.convert("L"), "JPEG", progressive=True)):
        found = made_of_file(content, lambda made: made.pixels, smallest)
        assert found.shape == (3, expected[1], expected[0])
    png = made_of_file(written(image, "PNG"), lambda made: made.pixels, smallest)
    assert png.shape == (3, size[1], size[0])


def test_a_reduced_picture_is_turned_and_hardly_another() -> None:
    content = written(photograph(320, 480), "JPEG", exif=oriented(6), quality=95)
    whole = read_picture(content)
    reduced = made_of_file(content, lambda made: made, 80)
    assert reduced.pixels.shape == (3, 120, 80)
    assert reduced.treated == whole.treated == (Treatment.ORIENTED,)
    averaged = torch.nn.functional.avg_pool2d(whole.pixels.float()[None], 4)[0]
    assert (reduced.pixels.float() - averaged).abs().max() <= 4


def test_an_embedder_reduces_where_it_was_asked_to_and_says_so(tmp_path: Path) -> None:
    photograph(1024, 1280).save(tmp_path / "a.jpg", quality=90)
    plain, reducing = ClipEmbedder.bundled("cpu"), ClipEmbedder.bundled("cpu", reduced_decoding=True)
    sizes: list[tuple[int, ...]] = []
    resize = Preprocess.resize

    def recording(self: Preprocess, images: Tensor) -> Tensor:
        sizes.append(tuple(images.shape))
        return resize(self, images)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Preprocess, "resize", recording)
        one, other = plain.images([tmp_path / "a.jpg"]), reducing.images([tmp_path / "a.jpg"])
    assert sizes == [(3, 1024, 1280), (3, 256, 320)]
    assert float(one[0] @ other[0]) >= 0.9999
    assert reducing.preprocessing == f"{plain.preprocessing}; JPEGs decoded at a reduced size, no side below 256"
