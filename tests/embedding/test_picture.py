"""What becomes of an image that is more than plain pixels, and of a file that is none."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fdgpu.embedding import picture as pictures
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.picture import (
    Picture,
    Treatment,
    as_picture,
    as_unchecked_picture,
    made_of_file,
    read_picture,
    suffixes,
)
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.sources import FileSource
from fdgpu.errors import InputError

ORIENTATION = 0x0112


def same(images: Tensor) -> Tensor:
    return images


def noise(h: int = 6, w: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (h, w, channels), dtype=np.uint8)


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


def read(path: Path) -> tuple[np.ndarray, tuple[Treatment, ...]]:
    picture = read_picture(path)
    return picture.pixels.movedim(0, -1).numpy(), picture.treated


def embedded_and_shown(path: Path) -> tuple[np.ndarray, np.ndarray]:
    source = FileSource([path], ["a"])
    (batch,) = source.batches(1, same)
    (shown,) = source.pictures([0], 1000)
    return batch.pixels[0].movedim(0, -1).numpy(), shown


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("value", range(10))
def test_an_orientation_is_applied_as_viewers_do(tmp_path: Path, suffix: str, value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    path = tmp_path / f"a.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(noise()).save(path, exif=exif, **lossless)
    with Image.open(path) as image:
        expected = rgb(ImageOps.exif_transpose(image))
    pixels, treated = read(path)
    np.testing.assert_array_equal(pixels, expected)
    assert treated == ((Treatment.ORIENTED,) if 2 <= value <= 8 else ())
    assert pixels.shape[:2] == ((9, 6) if 5 <= value <= 8 else (6, 9))
    for seen in embedded_and_shown(path):
        np.testing.assert_array_equal(seen, expected)
    with Image.open(path) as image:  # a picture that a caller opened
        np.testing.assert_array_equal(as_picture(image).movedim(0, -1).numpy(), expected)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1"])
@pytest.mark.parametrize("value", [2, 3, 6])
def test_an_orientation_of_a_tiff_that_pil_maps_into_memory(tmp_path: Path, mode: str, value: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    image = Image.fromarray(noise()).convert(mode)
    image.save(tmp_path / "a.tif", exif=exif)
    turned = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 6: lambda a: np.rot90(a, -1)}[value]
    pixels, treated = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, turned(rgb(image)))
    assert Treatment.ORIENTED in treated
    with Image.open(tmp_path / "a.tif") as opened:
        np.testing.assert_array_equal(as_picture(opened).movedim(0, -1).numpy(), turned(rgb(image)))
        assert opened.filename == str(tmp_path / "a.tif")


def test_an_orientation_of_a_deep_grey_picture(tmp_path: Path) -> None:
    values = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1200
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_allclose(picture.pixels[1].numpy(), np.rot90(values, -1) / 65535, atol=1e-6)
    assert picture.treated == (Treatment.ORIENTED,)


@pytest.mark.parametrize(
    "block", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"x" * 50]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_does_not_fail_the_image(tmp_path: Path, block: bytes) -> None:
    for suffix in ("png", "jpg", "webp"):
        Image.new("RGB", (8, 8), (50, 60, 70)).save(tmp_path / f"a.{suffix}", exif=block)
        pixels, treated = read(tmp_path / f"a.{suffix}")
        assert (np.abs(pixels.astype(int) - (50, 60, 70)).max() <= 3, treated) == (True, ())


def on_white(array: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return array * share + 255 * (1 - share)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGB", "L"])
def test_what_is_transparent_lies_on_white(tmp_path: Path, mode: str) -> None:
    array = noise(channels=4)
    path = tmp_path / "a.png"
    image = Image.fromarray(array, "RGBA") if mode == "RGBA" else Image.fromarray(array[..., :3])
    if mode == "LA":
        image = Image.merge("LA", (image.convert("L"), Image.fromarray(array[..., 3])))
    elif mode == "PA":
        image = Image.merge("RGBA", (*image.split(), Image.fromarray(array[..., 3]))).convert("PA")
    elif mode == "P":
        image = image.quantize(16)
        image.info["transparency"] = 3
    elif mode in ("RGB", "L"):
        image = image.convert(mode)
        image.info["transparency"] = image.getpixel((0, 0))
    expected = np.asarray(image.convert("RGBA"))
    expected = on_white(expected[..., :3], expected[..., 3])
    assert (expected == 255).all() or (expected != rgb(image)).any()
    if mode in ("RGBA", "LA", "RGB", "L", "P"):
        image.save(path)
        pixels, treated = read(path)
        assert np.abs(pixels - expected).max() <= 1
        assert treated == (Treatment.ON_WHITE,)
    picture = as_unchecked_picture(image)
    assert np.abs(picture.pixels.movedim(0, -1).numpy() - expected).max() <= 1
    assert picture.treated == (Treatment.ON_WHITE,)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_an_opaque_alpha_channel_changes_nothing(mode: str) -> None:
    image = Image.fromarray(noise()).convert("RGBA").convert(mode)
    picture = as_unchecked_picture(image)
    np.testing.assert_array_equal(picture.pixels.movedim(0, -1).numpy(), rgb(image))
    assert picture.treated == ()


def test_hidden_colours_do_not_show() -> None:
    """A cut-out: what the alpha channel hides may hold anything."""
    cut = noise(channels=4)
    cut[..., 3] = 0
    assert (as_picture(Image.fromarray(cut, "RGBA")) == 255).all()


def test_arrays_and_tensors_of_four_channels_are_rgba() -> None:
    array = noise(channels=4)
    expected = on_white(array[..., :3], array[..., 3])
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (array, tensor, array / 255, tensor / 255):
        picture = as_unchecked_picture(image)
        scale = 255 if picture.pixels.is_floating_point() else 1
        assert np.abs(picture.pixels.movedim(0, -1).numpy() * scale - expected).max() <= 0.51
        assert picture.treated == (Treatment.ON_WHITE,)
    for many in (
        tensor.expand(5, -1, -1, -1),
        torch.from_numpy(array).expand(5, -1, -1, -1),
        tensor.expand(5, -1, -1, -1) / 255,
    ):
        source = image_source(many)
        batches = list(source.batches(2, same))
        assert sum((batch.treated for batch in batches), batches[0].treated.__class__()) == {Treatment.ON_WHITE: 5}
        for batch in batches:
            scale = 255 if batch.pixels.is_floating_point() else 1
            assert np.abs(batch.pixels[0].movedim(0, -1).numpy() * scale - expected).max() <= 0.51
        (shown,) = source.pictures([4], 1000)
        assert np.abs(shown - expected).max() <= 1
    outside = tensor / 255
    outside[0, 0, 0], outside[3, 0, 0] = 7.0, 0.0  # hidden, and yet not what was promised
    with pytest.raises(InputError, match="outside"):
        as_picture(outside)


def test_a_low_picture_is_not_taken_for_channels_first() -> None:
    for height in range(1, 6):
        array = noise(height, 7)
        np.testing.assert_array_equal(as_picture(Image.fromarray(array)).movedim(0, -1).numpy(), array)
    assert as_picture(noise(4, 4)).shape == (3, 4, 4)


def test_depth(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 54).astype(np.uint16).reshape(6, 9)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
    (tmp_path / "a.pgm").write_bytes(b"P5 9 6 65535\n" + values.astype(">u2").tobytes())
    (tmp_path / "b.pgm").write_bytes(b"P5 9 6 4095\n" + (values // 16).astype(">u2").tobytes())
    for name in ("a.png", "a.tif", "a.pgm", "b.pgm"):
        picture = read_picture(tmp_path / name)
        np.testing.assert_allclose(picture.pixels[0].numpy(), values / 65535, atol=1.1 / 4095)
        assert picture.treated == ()
        source = FileSource([tmp_path / name], ["a"])
        np.testing.assert_allclose(source.pictures([0], 99)[0][..., 0], values / 257, atol=1)


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """One strip of packed samples, uncompressed; nothing here writes such files."""
    h, w = values.shape
    bits = "".join(format(v, "012b") for row in values.tolist() for v in [*row, *([0] if w % 2 else [])])
    strip = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = [(256, w), (257, h), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, h), (279, len(strip))]
    strip += b"\0" * (len(strip) % 2)
    directory = len(tags).to_bytes(2, "little")
    for tag, value in tags:
        directory += tag.to_bytes(2, "little") + b"\4\0" + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
    return b"II*\0" + (8 + len(strip)).to_bytes(4, "little") + strip + directory + b"\0\0\0\0"


def test_twelve_bits_that_the_header_states(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 60).astype(np.uint16).reshape(6, 10)
    (tmp_path / "a.tif").write_bytes(tiff_of_12_bits(values))
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.pixels[0].numpy(), values / 4095, atol=1e-6)
    assert picture.treated == ()
    Image.fromarray(values).save(tmp_path / "b.tif", tiffinfo={281: 4095})
    stated = read_picture(tmp_path / "b.tif")
    np.testing.assert_allclose(stated.pixels[0].numpy(), values / 4095, atol=1e-6)
    assert stated.treated == ()


def test_twelve_bits_that_nothing_states_are_doubted(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 54).astype(np.uint16).reshape(6, 9)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        picture = read_picture(tmp_path / name)
        np.testing.assert_allclose(picture.pixels[0].numpy(), values / 65535, atol=1e-6)
        assert picture.treated == (Treatment.DIM,)
    assert as_unchecked_picture(Image.fromarray(values)).treated == (Treatment.DIM,)
    assert as_unchecked_picture(Image.fromarray(values * 0)).treated == ()
    deep = np.repeat(values[..., None], 3, axis=2)
    (tmp_path / "a.ppm").write_bytes(b"P6 9 6 65535\n" + deep.astype(">u2").tobytes())
    assert Treatment.DIM.doubtful
    assert not any(one.doubtful for one in Treatment if one is not Treatment.DIM)


def png_of_16_bits(values: np.ndarray) -> bytes:
    """An RGB PNG of (h, w, 3) uint16, which PIL reads and does not write."""
    import struct
    import zlib

    h, w, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_deep_colours_are_doubted_too(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (6, 9, 3)).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png_of_16_bits(deep))
    pixels, treated = read(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, deep >> 8)
    assert treated == ()
    (tmp_path / "b.png").write_bytes(png_of_16_bits(deep >> 4))
    assert read(tmp_path / "b.png")[1] == (Treatment.DIM,)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_converted_as_pil_does(tmp_path: Path, suffix: str) -> None:
    image = Image.new("CMYK", (16, 16), (200, 30, 0, 20))
    image.save(tmp_path / f"a.{suffix}")
    pixels, treated = read(tmp_path / f"a.{suffix}")
    red, green, blue = pixels.reshape(-1, 3).mean(0)
    assert red < 70 < 190 < green < blue  # cyan; inverted it would be red
    assert treated == (Treatment.FROM_CMYK,)


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "png"])
def test_of_several_frames_the_first_is_taken(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    lossless = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    pixels, treated = read(path)
    assert (pixels == (255, 0, 0)).all()
    assert treated == (Treatment.FIRST_FRAME,)
    frames[0].save(path, **lossless)
    assert read(path)[1] == ()
    frames[0].save(tmp_path / "phone.mpo", "MPO", save_all=True, append_images=frames[1:])
    (tmp_path / "phone.mpo").rename(tmp_path / "phone.jpg")
    assert read(tmp_path / "phone.jpg")[1] == ()


def test_what_was_done_is_counted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    for i in range(3):
        Image.fromarray(noise(channels=4), "RGBA").save(tmp_path / f"{i}.png", exif=exif)
    Image.fromarray(noise()).save(tmp_path / "plain.png")
    (batch,) = image_source(tmp_path).batches(9, same)
    assert batch.treated == {Treatment.ORIENTED: 3, Treatment.ON_WHITE: 3}
    opened = [Image.open(path) for path in sorted(tmp_path.iterdir())]
    (listed,) = image_source(opened).batches(9, same)
    assert listed.treated == batch.treated
    assert torch.equal(listed.pixels, batch.pixels)


# --- which files ------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_for_every_picture_that_pillow_opens(tmp_path: Path) -> None:
    known = suffixes()
    assert known == sorted(known)
    assert {".jpg", ".jfif", ".jpe", ".png", ".webp", ".pgm", ".pnm", ".jp2", ".tga", ".bmp", ".gif", ".tif"} <= {
        *known
    }
    assert not {".eps", ".ps", ".pdf", ".wmf", ".emf", ".h5", ".hdf", ".mpg", ".iim", ".grib", ".bufr"} & {*known}
    image = Image.fromarray(noise())
    for suffix, kind in ((".jfif", "JPEG"), (".jpe", "JPEG"), (".pgm", "PPM"), (".tga", "TGA"), (".JP2", "JPEG2000")):
        (image.convert("L") if suffix == ".pgm" else image).save(tmp_path / f"a{suffix}", kind)
    if ".avif" in known:
        image.save(tmp_path / "a.avif")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.4")
    (batch,) = image_source(tmp_path).batches(99, lambda pixels: pixels[:, :6, :6])
    assert len(batch.ids) == (6 if ".avif" in known else 5)
    assert batch.unreadable == {}


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'


def test_a_picture_of_another_package_names_it(tmp_path: Path) -> None:
    for name, content in (("a.heic", HEIC), ("b.HEIF", HEIC), ("c.svg", SVG)):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(
        InputError, match=r"holds no image that can be read here: 1 files end in \.heic, which needs pillow-heif"
    ):
        image_source(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "d.png")
    (batch,) = image_source(tmp_path).batches(9, same)
    assert batch.ids == ["a.heic", "b.HEIF", "c.svg", "d.png"]
    assert {path: reason.split(" (")[0] for path, reason in batch.unreadable.items()} == {
        "a.heic": "needs pillow-heif",
        "b.HEIF": "needs pillow-heif",
        "c.svg": "is a drawing and no pixels: convert it to PNG, as by cairosvg",
    }


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
    plain, lock, now, most = pictures.as_unchecked_picture, threading.Lock(), [0], [0]

    def slow(image: Image.Image) -> pictures.Picture:
        if image.width < 40:
            return plain(image)
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        picture = plain(image)
        with lock:
            now[0] -= 1
        return picture

    monkeypatch.setattr(pictures, "as_unchecked_picture", slow)
    monkeypatch.setattr("fdgpu.embedding.loading.cpu_count", lambda: 6)
    for large, expected in ((1000, 1), (2000, 4)):
        monkeypatch.setattr(pictures, "LARGE", large)
        most[0] = 0
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

    def small(picture: Picture) -> Picture:
        return replace(picture, pixels=resize(picture.pixels))

    expected = made_of_file(path, small)
    monkeypatch.setattr(pictures, "LARGE", 10_000)
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


# --- what is no picture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            {"image": 1, "label": 0},
            r"a dict with the keys 'image', 'label': pass the pictures alone, as by dataset\['image'\]",
        ),
        ((np.zeros((2, 2, 3)), 1, 2), r"a tuple of 3 \(ndarray, int, int\): pass the pictures alone"),
        (b"\x89PNG", r"a bytes: decode it, as by PIL\.Image\.open"),
        (BytesIO(b""), "a BytesIO: decode it"),
        (Path("a.png"), r"a path \('a\.png'\) among pictures"),
        (None, "a NoneType: pass PIL images, arrays, tensors or paths"),
        (3, "a int: pass PIL"),
    ],
)
def test_what_is_no_picture_is_named(image: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^an image is {message}"):
        as_picture(image)
    source = image_source([np.zeros((2, 2, 3), np.uint8), image])
    (batch,) = source.batches(2, same)
    assert batch.unreadable["1"].startswith("does not exist" if isinstance(image, Path) else "an image is a ")
    assert (source.reason(0), source.reason(1)) == (None, batch.unreadable["1"])


def test_a_plugin_that_was_not_finished_is_a_reason(tmp_path: Path) -> None:
    header = bytearray(124)
    header[0:4], header[4:8], header[8:16] = (
        (124).to_bytes(4, "little"),
        (0x1007).to_bytes(4, "little"),
        b"\x04\0\0\0" * 2,
    )
    header[72:84] = (32).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"ABCD"
    (tmp_path / "a.dds").write_bytes(b"DDS " + header + b"\0" * 64)
    with pytest.raises(NotImplementedError):
        Image.open(tmp_path / "a.dds")
    (batch,) = image_source(tmp_path).batches(1, same)
    assert batch.unreadable["a.dds"].startswith("cannot be decoded (Unimplemented")


def test_a_picture_that_was_closed_is_a_reason() -> None:
    image = Image.new("RGB", (4, 4))
    image.close()
    (batch,) = image_source([image]).batches(1, same)
    assert batch.unreadable["0"].startswith("cannot be decoded (")
