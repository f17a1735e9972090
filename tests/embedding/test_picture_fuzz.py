"""Damaged files: a reason, or the pixels that PIL makes of them by itself; no other error, and no hang."""

from __future__ import annotations

import warnings
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from fdgpu.embedding.image_file import picture_formats
from fdgpu.embedding.sources import FileSource

FORMATS = (
    "PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "ICO", "DDS", "JPEG2000", "PCX", "SGI", "QOI", "DIB",
    "IM", "XBM", "MSP", "ICNS", "BLP", "SPIDER",
)  # fmt: skip

SIDE = 64  # pixels of a picture that are compared


@cache
def small(kind: str) -> tuple[bytes, ...]:
    """Small files of a format, in the modes that it takes."""
    array = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    colour = Image.fromarray(array, "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    made = []
    for mode in ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "LA"):
        image = Image.fromarray(array[..., 0].astype(np.uint16) * 250) if mode == "I;16" else colour.convert(mode)
        for options in ({"exif": exif}, {}, {"save_all": True, "append_images": [image]}):
            stream = BytesIO()
            try:
                image.save(stream, kind, **options)
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # not of this format
            made.append(stream.getvalue())
    return tuple(dict.fromkeys(made))


def framed(pixels: Tensor) -> Tensor:
    """Return (3, h, w) in the corner of a larger picture of floats, whose last row holds the height and the width."""
    _, h, w = pixels.shape
    frame = torch.zeros(3, SIDE, SIDE)
    h, w = min(h, SIDE - 1), min(w, SIDE)
    frame[:, :h, :w] = (pixels / 255 if pixels.dtype == torch.uint8 else pixels)[:, :h, :w]
    frame[0, -1, :2] = torch.tensor([h, w])
    return frame


def unframed(frame: Tensor) -> np.ndarray:
    h, w = frame[0, -1, :2].int().tolist()
    return frame[:, :h, :w].movedim(0, -1).numpy()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(small(draw(st.sampled_from([k for k in FORMATS if small(k)]))))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        match draw(st.sampled_from(("set", "set", "word", "cut", "insert", "repeat"))):
            case "set" if content:
                content[at] = draw(st.integers(0, 255))
            case "word":
                content[at : at + 4] = draw(
                    st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"))
                )
            case "cut":
                del content[at:]
            case "insert":
                content[at:at] = draw(st.binary(max_size=8))
            case "repeat":
                content[at:at] = content[at : at + 16]
    return bytes(content)


def decoded_by_pil(path: Path) -> np.ndarray | None:
    """What a viewer makes of it, written apart from the package; None where there is no telling."""
    try:
        # By a stream, which PIL cannot map into memory: a TIFF that is mapped it does not turn, and says that it did.
        with path.open("rb") as stream, Image.open(stream, formats=picture_formats()) as image:
            image.load()
            if image.mode[0] in "IF" or ";16" in image.mode:
                return None
            try:
                upright = ImageOps.exif_transpose(image)
            except Exception:  # plugins raise what they like
                return None
            if not upright.has_transparency_data:
                return np.asarray(upright.convert("RGB"))[: SIDE - 1, :SIDE]
            layer = np.asarray(upright.convert("RGBA")).astype(float)[: SIDE - 1, :SIDE]
            share = layer[..., 3:] / 255
            return layer[..., :3] * share + 255 * (1 - share)
    except Exception:  # plugins raise what they like
        return None


@pytest.mark.filterwarnings("ignore")  # PIL's, of damaged metadata
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(contents=st.lists(damaged(), min_size=7, max_size=7))
def test_a_damaged_file_is_a_reason_or_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: list[bytes]
) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(len(contents))]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)  # a header may ask for any size
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    # Of several sizes, they make a batch as rows of what all have: the picture, padded, behind its height and width.
    (batch,) = FileSource(paths, [path.name for path in paths]).batches(len(paths), framed)
    pictures = iter(batch.pixels)
    for path in paths:
        reason, expected = batch.unreadable.get(path.name), decoded_by_pil(path)
        if reason is not None:
            assert reason.startswith(("is not an image", "cannot be decoded (", "an image "))
            assert "\n" not in reason
            assert expected is None
            continue
        pixels = unframed(next(pictures))
        assert 0 <= pixels.min() <= pixels.max() <= 1
        assert expected is None or np.abs(pixels * 255 - expected).max() <= 1.01


def test_the_fuzz_has_files_of_every_kind() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert sum(bool(small(kind)) for kind in FORMATS) >= 15
        assert len(small("PNG")) >= 8
