"""Decoding on a pretended device: flags come to the host and nothing else, however many pictures there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from fdgpu import Decoder, slerp
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.decoding import decode_grid
from fdgpu.decoding.synthetic import DecoderPainter
from fdgpu.errors import InputError
from tests.decoding import tiny
from tests.pretend_cuda import OnCuda, inner, pretend_cuda

FLAGS = [
    ("whether vectors can be rotated", 3),
    ("whether all embeddings are finite", 1),
    ("whether a vector is zero", 1),
    ("whether all pictures are finite", 1),
]


def unit(n: int, d: int = 128, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def flags(crossings: list[Crossing]) -> list[tuple[str, int]]:
    return [(one.why, one.bytes) for one in crossings]


@pytest.fixture(scope="module")
def on_the_host() -> Decoder:
    return Decoder.bundled("cpu")


@pytest.fixture(name="on_cuda")
def pretend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretend_cuda(monkeypatch):
        yield


@pytest.fixture
def decoder(on_cuda: None) -> Decoder:  # noqa: ARG001 - is in force
    return Decoder.bundled("cuda", batch_size=8)


@pytest.mark.parametrize("k", [4, 16])
def test_a_grid_crosses_by_flags_alone(k: int, decoder: Decoder) -> None:
    references, directions = unit(k).to("cuda"), unit(k, seed=1).to("cuda")
    with counted_crossings() as crossings:
        grid = decode_grid(decoder, references, directions, alphas=0.2, seeds=[3], steps=2)
    assert flags(crossings) == FLAGS
    assert isinstance(grid.pictures, OnCuda)
    assert isinstance(grid.vectors, OnCuda)


def test_the_pictures_are_those_of_the_host(decoder: Decoder, on_the_host: Decoder) -> None:
    settings: dict[str, Any] = {"alphas": [0.1, 0.3], "seeds": [3, 4], "steps": 3, "guidance": 2.0}
    expected = decode_grid(on_the_host, unit(2), unit(2, seed=1), **settings)
    grid = decode_grid(decoder, unit(2).to("cuda"), unit(2, seed=1).to("cuda"), **settings)
    torch.testing.assert_close(inner(grid.vectors), expected.vectors)
    torch.testing.assert_close(inner(grid.pictures), expected.pictures, atol=1e-4, rtol=0)


def test_vectors_on_the_host_have_their_pictures_there(decoder: Decoder) -> None:
    with counted_crossings() as crossings:
        pictures = decoder.sample(unit(12), steps=1)
    assert not isinstance(pictures, OnCuda)
    assert [one.shape for one in crossings] == [(8, 3, 32, 32), (4, 3, 32, 32)]


def test_what_cannot_be_decoded_is_named(decoder: Decoder) -> None:
    z = unit(5).to("cuda")
    zero = z * torch.tensor([1, 1, 0, 1, 0.0]).to("cuda")[:, None]
    with pytest.raises(InputError, match="2 vectors that are zero, the first is row 2"):
        decoder.sample(zero, steps=1)
    with pytest.raises(InputError, match="b holds a vector that is zero"):
        slerp(z, zero, 0.5)
    with pytest.raises(InputError, match="opposite"):
        slerp(z, -z, 0.5)
    with pytest.raises(InputError, match="alpha holds 2:"):
        slerp(z, z, torch.tensor([0.0, 1, 2, 3, 1]).to("cuda"))


PIPELINES = [tiny.stable_unclip, tiny.kandinsky, tiny.unclip, tiny.retrieval_augmented, tiny.image_variation]


@pytest.mark.parametrize("make", PIPELINES)
def test_every_pipelines_loop_waits_for_nothing(make: Callable[[], Any], on_cuda: None) -> None:  # noqa: ARG001
    decoder = Decoder.from_diffusers(make().to("cuda"), length=1.0, batch_size=2)
    for n in (3, 6):
        with counted_crossings() as crossings:
            pictures = decoder.sample(unit(n, tiny.D).to("cuda"), 3)
        assert flags(crossings) == FLAGS[1:]
        assert isinstance(pictures, OnCuda)


def test_a_digest_of_weights_is_one_copy(decoder: Decoder, on_the_host: Decoder) -> None:
    with counted_crossings() as crossings:
        settings = decoder.settings
    assert [one.why for one in crossings] == ["a digest of weights"]
    assert settings == on_the_host.settings


def test_painted_pictures_come_down_as_bytes(decoder: Decoder) -> None:
    class Reader:
        name, dimension = "bundled", 128

        def texts(self, captions: list[str]) -> torch.Tensor:
            return unit(len(captions)).to("cuda")

    with counted_crossings() as crossings:
        painted = DecoderPainter(decoder, Reader(), steps=1)(["a", "b"], [0, 1])
    assert painted.dtype == torch.uint8
    assert flags(crossings) == [*FLAGS[1:], ("pictures to write", 2 * 3 * 32 * 32)]
