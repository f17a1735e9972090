"""Images and captions on a pretended device: nothing is waited for but what is named, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fdgpu import CaptionGrammar, ClipEmbedder
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.embedding import FeatureEmbedder
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import TensorSource
from fdgpu.errors import FdgpuWarning, InputError
from tests.conftest import load_jax
from tests.pretend_cuda import OnCuda, inner, pretend_cuda

GRAMMAR = CaptionGrammar(
    "a {size} {colour} {noun} {place}",
    size=[None, "small", "large", "tiny", "huge"],
    colour=["red", "blue", "green", "black"],
    noun=["bag", "boot", "coat"],
    place=[None, "on the grass", "in the snow"],
)


SIDE = 64  # the bundled model's own size, as resizing rounds to uint8 in other places on the host


def pictures(n: int, side: int = 48) -> torch.Tensor:
    return torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def on_the_host() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


@pytest.fixture(name="on_cuda")
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretend_cuda(monkeypatch):
        yield


@pytest.fixture
def clip(on_cuda: None) -> ClipEmbedder:  # noqa: ARG001 - is in force
    return ClipEmbedder.bundled("cuda", batch_size=4)


def crossings_of(run: Callable[[], object]) -> list[Crossing]:
    with counted_crossings() as crossings:
        run()
    return crossings


def test_images_on_the_device_never_come_down(on_the_host: ClipEmbedder, clip: ClipEmbedder) -> None:
    for n in (9, 36):
        images = pictures(n, SIDE).to("cuda")
        with counted_crossings() as crossings:
            vectors = clip.images(images)
        assert isinstance(vectors, OnCuda)
        assert not crossings
    torch.testing.assert_close(inner(vectors), on_the_host.images(pictures(36, SIDE)), atol=1e-5, rtol=0)


def test_floats_on_the_device_are_checked_by_one_flag(clip: ClipEmbedder) -> None:
    for n in (9, 36):
        crossings = crossings_of(lambda n=n: clip.images((pictures(n) / 255).to("cuda")))
        assert [(one.why, one.bytes) for one in crossings] == [("whether the images' floats lie in [0, 1]", 1)]
    with pytest.raises(InputError, match="outside"):
        clip.images((pictures(2) / 25).to("cuda"))


def test_files_are_uploaded_and_the_unreadable_are_nan(clip: ClipEmbedder, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for path, picture in zip(paths, pictures(10), strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    paths[5].write_text("no")
    with counted_crossings() as crossings, pytest.warns(FdgpuWarning, match=r"1 of 10 images .*5\.png"):
        vectors = clip.images(paths)
    assert not crossings
    assert inner(vectors).isnan().all(1).tolist() == [i == 5 for i in range(10)]
    kept = [i for i in range(10) if i != 5]
    torch.testing.assert_close(inner(vectors)[kept], inner(clip.images(pictures(10)))[kept], atol=1e-5, rtol=0)


def test_a_list_of_pictures_on_the_device_is_checked_once_a_batch(clip: ClipEmbedder) -> None:
    listed = [(one / 255).to("cuda") for one in pictures(9)]
    listed[3] = listed[3] * 300
    with counted_crossings() as crossings, pytest.warns(FdgpuWarning, match="1 of 9 images .* first is 3: .*outside"):
        vectors = clip.images(listed)
    assert [one.bytes for one in crossings] == [4, 4, 1]
    assert inner(vectors).isnan().all(1).tolist() == [i == 3 for i in range(9)]
    with pytest.raises(InputError, match="images lie on cuda:0 and on cpu: pass them on one device"):
        clip.images([listed[0], pictures(1)[0]])


def test_captions_cross_once_for_the_first_check(clip: ClipEmbedder) -> None:
    listed = list(GRAMMAR)
    crossings = crossings_of(lambda: clip.texts(listed[: len(listed) // 4]))
    assert [(one.why, one.bytes) for one in crossings] == [("how far captions lie from encode_text's", 4)]
    with counted_crossings() as crossings:
        vectors = clip.texts([*listed, *listed[:7]])
    assert not crossings
    assert (clip.text_method_.name, isinstance(vectors, OnCuda)) == ("prefix_tree", True)


@pytest.mark.usefixtures("on_cuda")
def test_a_networks_features_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    embedder = FeatureEmbedder(network, (16, 16), device="cuda", batch_size=2)
    crossings = crossings_of(lambda: embedder.images(pictures(9).to("cuda")))
    assert not crossings


@pytest.mark.usefixtures("on_cuda")
@pytest.mark.parametrize("floats", [False, True])
def test_pictures_to_show_come_down_together(floats: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.embedding.sources.SHOWN_AT_ONCE", 3)
    images = pictures(20, 40) / 255 if floats else pictures(20, 40)
    source, expected = TensorSource(images.to("cuda")), TensorSource(images).pictures(range(20), 16)
    for rows in ([5, 2], [19, 0, 7, 7, 3, 11, 12, 2]):
        with counted_crossings() as crossings:
            shown = source.pictures(rows, 16)
        assert [(one.why, one.bytes) for one in crossings] == [("the pictures to show", len(rows) * 16 * 16 * 3)]
        for row, picture in zip(rows, shown, strict=True):
            assert np.abs(picture.astype(int) - expected[row]).max() <= 1  # the host rounds uint8 in between
    listed = image_source([*images.to("cuda")])
    assert len(crossings_of(lambda: listed.pictures([5, 2], 16))) == 1 + floats


def test_jax_images_come_by_dlpack() -> None:
    jax = load_jax()
    images = pictures(3)
    source = image_source(jax.numpy.asarray(images.numpy()))
    assert isinstance(source, TensorSource)
    assert torch.equal(source.images, images)
    array = jax.numpy.asarray(images[0].numpy())
    (batch,) = image_source([array]).batches(1, lambda one: one)
    assert torch.equal(batch.pixels[0], images[0])


@pytest.mark.usefixtures("on_cuda")
def test_labels_that_come_with_images_come_down_a_batch_at_a_time() -> None:
    images, labels = pictures(6).to("cuda"), torch.arange(6).to("cuda")
    source = image_source(zip(images, labels, strict=True))
    batches: list = []
    crossings = crossings_of(lambda: batches.extend(source.batches(4, lambda one: one)))
    assert [int(label) for batch in batches for label in batch.labels] == [0, 1, 2, 3, 4, 5]
    assert len(crossings) == 2
