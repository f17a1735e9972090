"""A device that decodes: which files it is given, what it cannot take, and that one broken file loses nothing.

No device is here: torchcodec's own decoder stands in, on a device that only pretends to be one.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fdgpu import ClipEmbedder
from fdgpu.arrays import counted_crossings
from fdgpu.embedding import image_file
from fdgpu.embedding.image_file import plain_jpeg, read_picture, torchcodec_decoders
from fdgpu.embedding.loading import View
from fdgpu.embedding.sources import FileSource
from tests.pretend_cuda import CUDA, OnCuda, inner, pretend_cuda, up

decoders = torchcodec_decoders()
pytestmark = pytest.mark.skipif(isinstance(decoders, str), reason=str(decoders))
ORIENTATION = 0x0112


class StandIn:
    """nvJPEG, which takes a list and fails as a whole; ``calls`` holds how many files each call was given."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.broken: set[bytes] = set()

    def decode_jpeg(self, source: Sequence[Tensor] | Tensor, device: torch.device | None = None) -> Any:
        if device is None:
            return decoders.decode_jpeg(source)  # type: ignore[union-attr]
        self.calls.append(len(source))
        if any(one.numpy().tobytes() in self.broken for one in source):
            raise RuntimeError("Failed to decode batch")
        return [up(decoders.decode_jpeg(one)) for one in source]  # type: ignore[union-attr]

    def decode_png(self, source: Tensor) -> Tensor:
        return decoders.decode_png(source)  # type: ignore[union-attr,no-any-return]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(image_file, "torchcodec_decoders", lambda: stand_in)
    return stand_in


def noise(seed: int, side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def oriented(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def same(pixels: Tensor) -> Tensor:
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> list[Path]:
    """JPEGs among files that the device cannot take."""
    paths = [tmp_path / f"{i}.jpg" for i in range(8)]
    for i, path in enumerate(paths):
        noise(i).save(path, "JPEG", exif=oriented(6) if i == 2 else Image.Exif())
    noise(3).convert("CMYK").save(paths[3], "JPEG")
    noise(4).save(paths[4], "PNG")
    paths[5].write_bytes(paths[5].read_bytes()[:-300])
    paths[6].write_text("no picture")
    return paths


def batches(paths: list[Path], size: int = 9) -> list[Any]:
    source = FileSource(paths, [path.name for path in paths])
    return list(source.batches(size, View(same, device=CUDA)))


def test_plain_jpegs_go_to_the_device_and_all_else_another_way(
    folder: list[Path], device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [read_picture(folder[i]) for i in (0, 1, 2, 3, 4, 7)]
    with pretend_cuda(monkeypatch):
        with counted_crossings() as crossings:
            (batch,) = batches(folder)
        assert isinstance(batch.pixels, OnCuda)
    assert not crossings
    assert device.calls == [4]
    assert set(batch.unreadable) == {"5.jpg", "6.jpg"}
    assert batch.unreadable["5.jpg"].startswith("cannot be decoded (image file is truncated")
    assert batch.read == [0, 1, 2, 3, 4, 7]
    assert torch.equal(inner(batch.pixels), torch.stack([one.pixels for one in expected]))
    assert [batch.treated[row] for row in batch.read] == [picture.treated for picture in expected]


@pytest.mark.parametrize("broken", [[0], [3], [7], [1, 2, 6], list(range(8))])
def test_a_broken_file_does_not_lose_the_others(
    broken: list[int], tmp_path: Path, device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(8)]
    for i, path in enumerate(paths):
        noise(i).save(path, "JPEG")
    device.broken = {bytes(plain.content) for i in broken if (plain := plain_jpeg(paths[i]))}
    expected = torch.stack([read_picture(path).pixels for path in paths])
    with pretend_cuda(monkeypatch):
        (batch,) = batches(paths)
    assert torch.equal(inner(batch.pixels), expected)
    assert batch.unreadable == {}
    assert len(device.calls) <= 1 + 2 * 3 * len(broken)


def test_what_lies_on_the_device_at_once_is_bounded(
    tmp_path: Path, device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(7)]
    for i, path in enumerate(paths):
        noise(i).save(path, "JPEG")
    monkeypatch.setattr(image_file, "PIXELS_AT_ONCE", 3 * 64 * 64)
    with pretend_cuda(monkeypatch):
        parts = batches(paths, 5)
    assert device.calls == [3, 2, 2]
    assert [len(part.pixels) for part in parts] == [5, 2]


@pytest.mark.parametrize(("capability", "decodes"), [((7, 5), False), ((8, 0), True), ((8, 6), True), ((12, 0), True)])
@pytest.mark.usefixtures("device")
def test_cards_that_decode(capability: tuple[int, int], decodes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_cuda(monkeypatch):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        for asked in (None, torch.device("cpu"), CUDA):
            with image_file.device_decoder(asked) as decoder:
                assert (decoder is not None) is (decodes and asked is CUDA)


def test_where_nothing_decodes_on_a_device_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_cuda(monkeypatch):
        monkeypatch.setattr(image_file, "torchcodec_decoders", lambda: "torchcodec is not installed")
        with image_file.device_decoder(CUDA) as decoder:
            assert decoder is None


def test_an_embedder_has_its_jpegs_decoded_there(
    tmp_path: Path, device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(9)]
    for i, path in enumerate(paths):
        noise(i).save(path, "JPEG")
    on_the_host = ClipEmbedder.bundled("cpu").images(paths)
    with pretend_cuda(monkeypatch):
        vectors = ClipEmbedder.bundled("cuda", batch_size=4).images([lambda path=path: path for path in paths])
    assert device.calls == [4, 4, 1]
    torch.testing.assert_close(inner(vectors), on_the_host, atol=1e-5, rtol=0)


def test_a_batch_of_which_nothing_can_be_read(tmp_path: Path, device: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8 no picture")
    with pretend_cuda(monkeypatch):
        (batch,) = batches([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    assert (len(batch.pixels), batch.read, set(batch.unreadable)) == (0, [], {"a.jpg", "b.jpg"})
    assert device.calls == []


def test_a_jpeg_without_its_end_is_left_to_the_host() -> None:
    stream = BytesIO()
    noise(0).save(stream, "JPEG")
    whole = stream.getvalue()
    assert plain_jpeg(whole) is not None
    assert plain_jpeg(whole + b"\0" * 9) is not None
    for other in (whole[:-1], whole[:-400], b"", b"\xff\xd8\xff\xd9"):
        assert plain_jpeg(other) is None


def test_a_view_of_pil_images_keeps_decoding_on_the_host(
    tmp_path: Path, device: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise(0).save(tmp_path / "a.jpg")
    source = FileSource([tmp_path / "a.jpg"], ["a"])

    def transform(image: Image.Image) -> Tensor:
        return torch.zeros(1, *image.size)

    with pretend_cuda(monkeypatch):
        (batch,) = source.batches(1, View(same, device=CUDA), View(transform, takes_image=True))
    assert device.calls == []
    assert [tuple(view.shape) for view in batch.views] == [(1, 3, 64, 64), (1, 1, 64, 64)]
