"""From easy over neutral to hard: which vectors are decoded, with which noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.decoding import Decoder, decode_grid, slerp
from fdgpu.decoding.grid import Rotation, rotations_of
from fdgpu.errors import InputError
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
        Rotation("easy", 0.3),
        Rotation("easy", 0.1),
        Rotation("neutral", 0.0),
        Rotation("hard", 0.1),
        Rotation("hard", 0.3),
    )
    assert grid.pictures.shape == (2, 5, 2, 3, 16, 16)
    for k in range(2):
        for column, (sign, alpha) in enumerate([(1, 0.3), (1, 0.1), (1, 0.0), (-1, 0.1), (-1, 0.3)]):
            z = slerp(REFERENCES[k], sign * DIRECTIONS[k], alpha)
            torch.testing.assert_close(grid.vectors[k, column], z)
    alone = decoder.sample(slerp(REFERENCES[1:], -DIRECTIONS[1:], 0.3), 2, [9])
    torch.testing.assert_close(grid.pictures[1, 4, 1], alone[0], atol=1e-4, rtol=0)
    assert torch.equal(grid.at("hard", 0.3), grid.pictures[:, 4])
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
    assert [r.end for r in rotations_of([0.1, 0.2, 0.1])] == ["easy", "easy", "neutral", "hard", "hard"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"alphas": (0.1, 1.5)}, "alphas holds 1.5"),
        ({"alphas": (0.0,)}, "alphas holds 0: .* neutral comes by itself"),
        ({"alphas": (float("nan"),)}, "alphas holds nan"),
        ({"seeds": ()}, "pass at least one"),
        ({"seeds": (1, 1)}, "each once"),
        ({"directions": DIRECTIONS[:1]}, "one row a class"),
        ({"directions": torch.full((2, tiny.D), float("nan"))}, "zero or not finite"),
        ({"directions": REFERENCES}, "opposite"),
    ],
)
def test_says_what_is_wrong(decoder: Decoder, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        decode_grid(decoder, REFERENCES, **{"directions": DIRECTIONS, "steps": 1} | arguments)
