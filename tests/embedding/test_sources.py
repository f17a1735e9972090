from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import FileSource, TensorSource
from fdgpu.errors import InputError


def same(images: torch.Tensor) -> torch.Tensor:
    return images


@pytest.fixture
def folder(tmp_path):
    for name, value in (("b/2.png", 20), ("a/1.png", 10), ("c.jpg", 30)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (value,) * 3).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_a_folder_is_searched_in_sorted_order(folder) -> None:
    source = image_source(folder)
    batches = list(source.batches(2, same))
    assert [b.ids for b in batches] == [["a/1.png", "b/2.png"], ["c.jpg"]]
    assert [int(p.float().mean().round()) for b in batches for p in b.pixels] == [10, 20, 30]


def test_unreadable_files_are_listed_and_the_rest_goes_on(folder) -> None:
    good = (folder / "a/1.png").read_bytes()
    (folder / "cut.png").write_bytes(good[: len(good) // 2])
    (folder / "text.png").write_text("<script>")
    (folder / "empty.png").touch()
    names = ["a/1.png", "cut.png", "text.png", "empty.png", "missing.png", "b/2.png"]
    (batch,) = FileSource([folder / name for name in names], names).batches(10, same)
    assert batch.ids == names
    assert len(batch.pixels) == 2
    assert set(batch.unreadable) == {"cut.png", "text.png", "empty.png", "missing.png"}
    assert batch.unreadable["missing.png"] == "does not exist"
    assert batch.unreadable["text.png"] == "is not an image"


def test_a_generator_is_read_once_a_batch_at_a_time() -> None:
    seen = []

    def pictures():
        for i in range(5):
            seen.append(i)
            yield np.full((4, 4, 3), i, np.uint8)

    source = image_source(pictures())
    batches = source.batches(2, same)
    assert next(batches).ids == ["0", "1"]
    assert seen == [0, 1, 2, 3]  # one batch ahead of the model
    assert [b.ids for b in batches] == [["2", "3"], ["4"]]
    assert source.pictures([0, 3], 4) == [None, None]


def test_pictures_can_be_shown_again(folder) -> None:
    (folder / "gone.png").write_text("no longer an image")
    files = image_source([folder / name for name in ("c.jpg", "gone.png", "a/1.png")])
    jpeg, gone, png = files.pictures([0, 1, 2], 4)
    assert (jpeg.shape, jpeg.dtype, jpeg.mean().round(), gone, png.mean()) == ((4, 4, 3), np.uint8, 30, None, 10)
    tensor = torch.randint(256, (3, 3, 4, 4), dtype=torch.uint8)
    for source in (TensorSource(tensor), image_source(list(tensor)), TensorSource(tensor / 255)):
        for row, shown in zip((1, 0, 1), source.pictures([1, 0, 1], 9), strict=True):
            np.testing.assert_array_equal(shown, tensor[row].movedim(0, -1))
    assert image_source([tensor[0], tensor[0] * 2.0, tensor[0][:, :3]]).pictures([1, 2], 4)[0] is None
    assert TensorSource(tensor).pictures([], 4) == []


def test_pictures_of_different_types_in_a_batch_become_floats() -> None:
    array = np.full((6, 6, 3), 51, np.uint8)
    listed = [array, array / 255, "no picture", torch.full((3, 6, 6), 0.2, dtype=torch.float16), array]
    (batch,) = image_source([listed[1], *listed]).batches(9, same)
    assert list(batch.unreadable) == ["3"]
    assert batch.pixels.is_floating_point()
    torch.testing.assert_close(batch.pixels.float(), torch.full((5, 3, 6, 6), 0.2), atol=1e-4, rtol=0)


def test_a_tensor_that_is_resized_halves_its_batch() -> None:
    images = torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 3, 4, 4)

    def resize(some: torch.Tensor) -> torch.Tensor:
        if len(some) > 2:
            raise torch.OutOfMemoryError
        return some

    batches = list(TensorSource(images).batches(8, resize))
    assert [len(batch.ids) for batch in batches] == [2, 2, 2, 2, 1]
    assert torch.equal(torch.cat([batch.pixels for batch in batches]), images)


def test_sources_that_are_none(tmp_path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        image_source(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no image"):
        image_source(tmp_path)
    with pytest.raises(InputError, match="images is a int"):
        image_source(3)
    with pytest.raises(InputError, match="ids has 1"):
        TensorSource(torch.zeros(2, 3, 4, 4), ["a"])


def test_paths_from_a_generator_or_an_array_are_files(folder) -> None:
    for paths in (folder.rglob("*.png"), np.array([str(folder / "c.jpg")]), (str(p) for p in [folder / "c.jpg"])):
        assert isinstance(image_source(paths), FileSource)


def test_sixteen_bit_images_keep_their_greys(tmp_path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "xray.png")
    (batch,) = image_source(tmp_path).batches(1, same)
    assert np.allclose(batch.pixels[0, 0].numpy(), values / 65535, atol=1e-6)


def test_images_without_a_pixel_or_of_unknown_range_are_listed() -> None:
    odd = [np.zeros((0, 4, 3), np.uint8), Image.new("F", (4, 4)), np.zeros((4, 4, 3), np.uint8)]
    (batch,) = image_source(odd).batches(3, same)
    assert len(batch.pixels) == 1
    assert set(batch.unreadable) == {"0", "1"}
    assert "no pixel" in batch.unreadable["0"]
    assert "range is not known" in batch.unreadable["1"]


def test_a_name_of_strange_bytes_can_be_written(tmp_path) -> None:
    strange = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (4, 4)).save(tmp_path / strange)
    (batch,) = image_source(tmp_path).batches(1, same)
    assert batch.ids == ["caf\\xe9.png"]
    batch.ids[0].encode("utf-8")
