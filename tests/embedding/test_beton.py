"""FFCV's files, written by FFCV: run by ``make ffcv``, which installs it; the reader itself needs none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdgpu.embedding import BetonSource, image_source
from fdgpu.embedding.loading import View
from fdgpu.errors import InputError
from tests.embedding.greys import grey, seen, shown

ffcv = pytest.importorskip("ffcv", reason="FFCV is not installed: make ffcv")
fields = pytest.importorskip("ffcv.fields")

LEVELS = [10, 60, 110, 160, 210]


class Rows:
    """What FFCV's writer takes: a sequence of samples."""

    def __init__(self, *columns: list[Any]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        return tuple(column[row] for column in self.columns)


def written(path: Path, columns: dict[str, tuple[Any, list[Any]]]) -> Path:
    from ffcv.writer import DatasetWriter

    writer = DatasetWriter(str(path), {name: field for name, (field, _) in columns.items()}, num_workers=1)
    writer.from_indexed_dataset(Rows(*[column for _, column in columns.values()]))
    return path


def images(mode: str = "jpg", **settings: Any) -> tuple[Any, list[Any]]:
    return fields.RGBImageField(write_mode=mode, **settings), [grey(level, 8 + i) for i, level in enumerate(LEVELS)]


LABELS = ("label", [0, 1, 0, 1, 2])


@pytest.mark.parametrize("mode", ["jpg", "raw", "smart", "proportion"])
def test_jpegs_and_pixels(mode: str, tmp_path: Path) -> None:
    path = written(tmp_path / "data.beton", {"image": images(mode), "label": (fields.IntField(), LABELS[1])})
    source = image_source(path)
    assert source.count == 5
    assert source.labels == LABELS[1]
    assert seen(source) == [(str(i), level, LABELS[1][i], None) for i, level in enumerate(LEVELS)]
    assert shown(source, 4, 0) == [210, 10]


@pytest.mark.parametrize(("mode", "most"), [("raw", 0), ("jpg", 8)])  # FFCV takes the fast transform of JPEG
def test_pixels_are_those_of_ffcv(mode: str, most: int, tmp_path: Path) -> None:
    from ffcv.fields.decoders import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor, ToTorchImage

    noise = np.random.default_rng(0).integers(0, 256, (6, 24, 40, 3), np.uint8)
    path = written(tmp_path / "noise.beton", {"image": (fields.RGBImageField(mode), list(noise))})
    steps = [SimpleRGBImageDecoder(), ToTensor(), ToTorchImage()]
    loader = Loader(
        str(path),
        batch_size=6,
        num_workers=1,
        order=OrderOption.SEQUENTIAL,
        pipelines={"image": steps},
        drop_last=False,
    )
    ((decoded,),) = [[one.clone() for one in batch] for batch in loader]
    (batch,) = image_source(path).batches(6, lambda pixels: pixels)
    assert (batch.pixels.int() - decoded.int()).abs().max() <= most


def test_fields_of_all_kinds_and_by_name(tmp_path: Path) -> None:
    columns = {
        "weight": (fields.FloatField(), [0.5] * 5),
        "left": images(),
        "note": (fields.JSONField(), [{"i": i} for i in range(5)]),
        "place": (fields.NDArrayField(np.dtype("float32"), (2,)), [np.zeros(2, np.float32)] * 5),
        "right": (fields.RGBImageField("raw"), [grey(level) for level in reversed(LEVELS)]),
        "code": (fields.BytesField(), [np.frombuffer(b"abc", np.uint8)] * 5),
        "fine": (fields.IntField(), [7] * 5),
        "coarse": (fields.IntField(), [1] * 5),
    }
    path = written(tmp_path / "many.beton", columns)
    source = BetonSource(path, image="right", label="coarse")
    assert seen(source) == [(str(i), level, 1, None) for i, level in enumerate(reversed(LEVELS))]
    with pytest.raises(InputError, match=r"left and right can be the image: name one, as by .*image='left'"):
        image_source(path)
    with pytest.raises(InputError, match="fine and coarse can be the label: name one"):
        BetonSource(path, image="left")
    with pytest.raises(InputError, match=r"label is 'lable', and the .beton has weight, left"):
        BetonSource(path, image="left", label="lable")


def test_a_file_without_images(tmp_path: Path) -> None:
    path = written(tmp_path / "numbers.beton", {"label": (fields.IntField(), [1, 2])})
    with pytest.raises(InputError, match=r"numbers.beton has no field of images, an RGBImageField: it has label"):
        image_source(path)


def test_a_file_that_is_none_or_was_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "whole.beton", {"image": images()})
    whole = path.read_bytes()
    cut = tmp_path / "cut.beton"
    for left in (0, 10, 500, 1070, len(whole) // 2, len(whole) - 48):
        cut.write_bytes(whole[:left])
        with pytest.raises(InputError, match=r"cut.beton (is no .beton|was not written)"):
            image_source(cut)
    cut.write_bytes(whole[:16] + bytes(8) + whole[24:])  # as it is while FFCV writes
    with pytest.raises(InputError, match="was not written to its end"):
        image_source(cut)
    cut.write_bytes(b"\x09" + whole[1:])
    with pytest.raises(InputError, match="version 2"):
        image_source(cut)
    with pytest.raises(InputError, match="does not exist"):
        image_source(tmp_path / "absent.beton")


def loader(path: Path, *, floats: bool = False, **settings: Any) -> Any:
    from ffcv.fields.decoders import CenterCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, ToTensor, ToTorchImage

    floating = [NormalizeImage(np.zeros(3), np.full(3, 10.0), np.float32)] if floats else []
    steps = [CenterCropRGBImageDecoder((6, 6), 1.0), *floating, ToTensor(), ToTorchImage()]
    return Loader(
        str(path), batch_size=2, num_workers=1, pipelines={"image": steps}, **{"order": OrderOption.RANDOM, **settings}
    )


def test_a_loader_gives_all_its_images_in_the_order_of_its_file(tmp_path: Path) -> None:
    path = written(tmp_path / "data.beton", {"image": images(), "label": (fields.IntField(), LABELS[1])})
    source = image_source(loader(path, indices=[4, 2, 1]))
    assert source.count == 3
    assert seen(source) == [("4", 210, 2, None), ("2", 110, 0, None), ("1", 60, 1, None)]
    assert shown(source, 2, 0) == [60, 210]
    assert "FFCV's Loader makes of them, 6 x 6 pixels" in source.doubts[0]
    (batch,) = source.batches(4, View(lambda image: image[:, :2, :2], takes_image=True))
    assert batch.views[0].float().mean((1, 2, 3)).tolist() == [210, 110, 60]
    assert [len(batch.ids) for batch in source.batches(1, lambda pixels: pixels)] == [1, 1, 1]


def test_a_loader_of_floats_serves_the_classifier(tmp_path: Path) -> None:
    path = written(tmp_path / "data.beton", {"image": images("raw"), "label": (fields.IntField(), LABELS[1])})
    source = image_source(loader(path, floats=True))
    assert source.transformed
    assert source.doubts == ()
    assert seen(source) == [(str(i), level, LABELS[1][i], None) for i, level in enumerate(LEVELS)]
    (batch,) = source.batches(8, lambda pixels: pixels[:, :8, :8], View(None))
    assert [view.shape[-1] for view in batch.views] == [8, 6]
    assert batch.views[1].mean((1, 2, 3)).tolist() == pytest.approx([level / 10 for level in LEVELS])
