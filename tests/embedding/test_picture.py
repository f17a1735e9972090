"""What becomes of an image that is more than plain pixels, and of what is none."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fdgpu.embedding.image_file import read_picture
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.picture import Treatment, as_picture, as_unchecked_picture
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
        assert [one for batch in batches for one in batch.treated] == [(Treatment.ON_WHITE,)] * 5
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
    assert Counter(chain(*batch.treated)) == {Treatment.ORIENTED: 3, Treatment.ON_WHITE: 3}
    opened = [Image.open(path) for path in sorted(tmp_path.iterdir())]
    (listed,) = image_source(opened).batches(9, same)
    assert listed.treated == batch.treated
    assert torch.equal(listed.pixels, batch.pixels)


# --- what is no picture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            {"image": 1, "label": 0},
            r"a dict with the keys 'image', 'label': pass the pictures alone, as by dataset\['image'\]",
        ),
        ((np.zeros((2, 2, 3)), 1, 2), r"a tuple of 3 \(ndarray, int, int\): pass the pictures alone"),
        (None, "a NoneType: pass a path, the bytes of an image file, a PIL image, an array or a tensor"),
        (3, "a int: pass a path"),
    ],
)
def test_what_is_no_picture_is_named(image: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^an image is {message}"):
        as_picture(image)
    source = image_source([np.zeros((2, 2, 3), np.uint8), image])
    (batch,) = source.batches(2, same)
    assert batch.unreadable["1"].startswith("an image is a ")
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
