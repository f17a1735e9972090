"""From easy over neutral to hard: which vectors are decoded, with which noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fdgpu.decoding import Decoder, decode_grid, slerp
from fdgpu.decoding.grid import DecodedGrid, Rotation, rotations_of
from fdgpu.errors import InputError
from fdgpu.findings import Side
from tests.decoding import tiny


def unit(n: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(n, tiny.D, generator=torch.Generator().manual_seed(seed)), dim=1)


REFERENCES, DIRECTIONS = unit(2, 0), unit(2, 1)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder.from_diffusers(tiny.retrieval_augmented())


def test_every_picture_is_its_rotations(decoder: Decoder) -> None:
    grid = decode_grid(decoder, REFERENCES, 4 * DIRECTIONS, alphas=(0.3, 0.1), seeds=(5, 9), steps=2)
    assert grid.rotations == (
        Rotation(Side.EASY, 0.3),
        Rotation(Side.EASY, 0.1),
        Rotation(Side.NEUTRAL, 0.0),
        Rotation(Side.HARD, 0.1),
        Rotation(Side.HARD, 0.3),
    )
    assert grid.pictures.shape == (2, 5, 2, 3, 16, 16)
    for k in range(2):
        for column, (sign, alpha) in enumerate([(1, 0.3), (1, 0.1), (1, 0.0), (-1, 0.1), (-1, 0.3)]):
            z = slerp(REFERENCES[k], sign * DIRECTIONS[k], alpha)
            torch.testing.assert_close(grid.vectors[k, column], z)
    alone = decoder.sample(slerp(REFERENCES[1:], -DIRECTIONS[1:], 0.3), 2, [9])
    torch.testing.assert_close(grid.pictures[1, 4, 1], alone[0], atol=1e-4, rtol=0)
    assert torch.equal(grid.at("hard", 0.3), grid.pictures[:, 4])
    assert torch.equal(grid.at(Side.HARD, 0.3), grid.pictures[:, 4])
    assert torch.equal(grid.at("neutral"), grid.pictures[:, 2])
    with pytest.raises(
        InputError, match=r"hard 0.2 was not decoded: there are easy 0.3, easy 0.1, neutral 0, hard 0.1"
    ):
        grid.at("hard", 0.2)


def test_harder_columns_lie_further_against_the_direction(decoder: Decoder) -> None:
    grid = decode_grid(decoder, REFERENCES.numpy(), DIRECTIONS.numpy(), seeds=(0,), steps=1)
    assert isinstance(grid.pictures, np.ndarray)
    along = np.einsum("kpd,kd->kp", grid.vectors, DIRECTIONS.numpy())
    assert (np.diff(along, axis=1) < 0).all()
    assert (grid.vectors[:, 3] == grid.vectors[:, 3]).all()


def test_neutral_is_decoded_once() -> None:
    assert [r.side for r in rotations_of([0.1, 0.2, 0.1])] == ["easy", "easy", "neutral", "hard", "hard"]


@given(st.lists(st.floats(1e-3, 1), min_size=1, max_size=5, unique_by=lambda alpha: round(alpha, 4)))
@example([0.3, 0.1])
def test_columns_are_found_whichever_way_a_share_was_rounded(alphas: list[float]) -> None:
    rotations = rotations_of(np.float32(alphas))
    grid = DecodedGrid(np.arange(len(rotations))[None], None, rotations, (0,))
    ranks = np.argsort(np.argsort(alphas))
    for alpha, rank in zip(alphas, ranks, strict=True):
        assert grid.at("hard", alpha) == len(alphas) + 1 + rank
        assert grid.at("easy", np.float32(alpha)) == len(alphas) - 1 - rank


def test_shares_of_a_range_and_one_alone() -> None:
    grid = DecodedGrid(np.arange(7)[None], None, rotations_of(np.arange(0.1, 0.35, 0.1)), (0,))
    assert grid.at("hard", 0.3) == 6
    assert rotations_of(0.1) == rotations_of([0.1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alphas": (0.1, 1.5)}, "alphas holds 1.5"),
        ({"alphas": (0.0,)}, "alphas holds 0: .* neutral comes by itself"),
        ({"alphas": (float("nan"),)}, "alphas holds nan"),
        ({"seeds": ()}, "pass at least one"),
        ({"seeds": (1, 1)}, "each once"),
        ({"seeds": 3}, "seeds is 3: pass whole numbers"),
        ({"seeds": (1.5,)}, r"seeds is \(1.5,\)"),
        ({"seeds": None}, "seeds is None"),
        ({"alphas": "ab"}, "alphas is 'ab': pass numbers"),
        ({"alphas": None}, "alphas is not numeric"),
        ({"directions": DIRECTIONS[:1]}, "one row a class"),
        ({"directions": torch.full((2, tiny.D), float("nan"))}, "zero or not finite"),
        ({"directions": REFERENCES}, "opposite"),
    ],
)
def test_says_what_is_wrong(decoder: Decoder, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        decode_grid(decoder, REFERENCES, **{"directions": DIRECTIONS, "steps": 1} | arguments)


def test_says_that_there_is_no_class(decoder: Decoder) -> None:
    with pytest.raises(InputError, match="one row a class and at least one"):
        decode_grid(decoder, REFERENCES[:0], DIRECTIONS[:0], steps=1)
