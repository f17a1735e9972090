"""A training set with further images is a plain Dataset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fdgpu.errors import InputError
from fdgpu.interventions import augmented

BASE = TensorDataset(torch.arange(5 * 12, dtype=torch.float32).reshape(5, 3, 2, 2), torch.arange(5))


def test_further_images_follow_and_go_through_the_transform() -> None:
    images = np.full((2, 3, 2, 2), 4, np.uint8)
    whole = augmented(BASE, images, np.array([7, 8]), transform=lambda image: image.float() / 2)
    assert (len(whole), whole.n_base, whole.n_added) == (7, 5, 2)
    assert torch.equal(whole[3][0], BASE[3][0])
    assert [whole[i][1] for i in range(7)] == [0, 1, 2, 3, 4, 7, 8]
    assert torch.equal(whole[-1][0], torch.full((3, 2, 2), 2.0))
    pictures, labels = next(iter(DataLoader(whole, batch_size=7)))
    assert pictures.shape == (7, 3, 2, 2)
    assert labels.tolist() == [0, 1, 2, 3, 4, 7, 8]
    for outside in (7, -8):
        with pytest.raises(IndexError):
            whole[outside]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), [0, 1], r"shape \(3, 2, 2\), the added ones \(3, 4, 4\): pass a transform"),
        (torch.zeros(2, 3, 2, 2, dtype=torch.uint8), [0, 1], r"dtype torch.float32, the added ones torch.uint8"),
        (torch.zeros(2, 3, 2, 2), [0], "images has 2: pass one label"),
        (torch.zeros(2, 3, 2, 2), [0.5, 1.0], "integer class ids"),
        (torch.zeros(3, 2, 2), [0, 1, 2], r"\(m, 3, h, w\)"),
    ],
)
def test_what_cannot_be_added(images: torch.Tensor, labels: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        augmented(BASE, images, np.array(labels))
