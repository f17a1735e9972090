"""Noise, tints, wrong labels and composed pictures hold what they should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.paper.experiments.chestxray14 import Judged
from benchmarks.paper.noise import CorruptedFiles, corrupted
from benchmarks.paper.offline.composed import Ward, composed
from benchmarks.paper.offline.corrupted import Noise, noisy_garments
from benchmarks.paper.offline.garments import Part
from benchmarks.paper.offline.tinted import Groups, tinted
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.shares import outside
from benchmarks.paper.tints import flipped, painted, tints

HELD = {"framing": "normal", "blurry": "sharp", "background": "none"}


def test_what_is_outside_a_share_is_outside_every_smaller_one() -> None:
    labels = torch.arange(30) % 3
    low, high = (outside(labels, share, torch.Generator().manual_seed(1)) for share in (0.5, 0.8))
    assert [int(low[labels == label].sum()) for label in range(3)] == [5, 5, 5]
    assert [int(high[labels == label].sum()) for label in range(3)] == [2, 2, 2]
    assert not (high & ~low).any()


def test_a_tint_is_the_labels_own_unless_they_disagree() -> None:
    labels, disagree = torch.tensor([0, 0, 1, 1]), torch.tensor([False, True, False, True])
    tint = tints(labels, disagree)
    assert tint.tolist() == [0, 1, 1, 0]
    images = painted(torch.full((4, 3, 2, 2), 200, dtype=torch.uint8), tint)
    assert images.dtype == torch.uint8
    assert images[:, :, 0, 0].tolist() == [[200, 0, 0], [0, 200, 0], [0, 200, 0], [200, 0, 0]]
    generator = torch.Generator().manual_seed(0)
    assert 0.22 < flipped(torch.zeros(4000, dtype=torch.long), 0.25, generator).float().mean() < 0.28


def test_garments_are_red_or_green_as_label_and_share_say() -> None:
    groups = Groups([["trouser"], ["dress"]], wrong=0.25, strength=0.5, held=HELD)
    one, other = (tinted(groups, Part("val", 0, 40), share, seed=3) for share in (0.5, 0.9))
    assert torch.equal(one.labels, other.labels)
    assert 5 < (one.labels != (one.kinds == one.kinds.max()).long()).sum() < 35
    for marked in (one, other):
        middle = marked.images[:, :, 28:36, 28:36].float().mean((2, 3))
        green = middle[:, 1] > middle[:, 0]
        assert (green == ((marked.labels == 1) ^ marked.minority)).all()
    same = (one.images == other.images).flatten(1).all(1)
    assert torch.equal(same, one.minority == other.minority)
    assert 0.05 < other.minority.float().mean() < 0.15


def test_noise_has_its_deviation_and_a_file_has_the_same_noise_as_a_tensor() -> None:
    grey, rows = torch.full((3, 3, 40, 40), 128, dtype=torch.uint8), torch.tensor([True, False, True])
    noisy = corrupted(grey, rows, 0.1, seed=5)
    assert torch.equal(noisy[1], grey[1])
    assert noisy[0].float().std().item() == pytest.approx(25.5, rel=0.05)
    assert not torch.equal(noisy[0], noisy[2])
    pairs: Any = [(image, label) for label, image in enumerate(grey)]
    files = CorruptedFiles(pairs, rows, 0.1, seed=5)
    assert all(torch.equal(files[row][0], noisy[row]) and files[row][1] == row for row in range(3))
    assert not torch.equal(corrupted(grey, rows, 0.1, seed=6)[0], noisy[0])


def test_a_share_of_each_garment_is_noisy() -> None:
    marked = noisy_garments(["bag", "boot"], Part("val", 0, 10), Noise(0.3, 0.2), 0, HELD)
    assert [int(marked.minority[marked.labels == label].sum()) for label in (0, 1)] == [3, 3]
    rough = (marked.images[:, :, 1:].float() - marked.images[:, :, :-1].float()).abs().mean((1, 2, 3))
    assert rough[marked.minority].min() > rough[~marked.minority].max()


def test_composed_pictures_have_conditions_more_often_where_they_are_blurred() -> None:
    ward = Ward(["boot", "bag"], ["trouser"], lying=0.4, chances=(0.1, 0.6))
    marked = composed(ward, Part("val", 0, 10), 400, seed=0)
    assert marked.labels.shape == (400, 2)
    assert 0.33 < marked.minority.float().mean() < 0.47
    assert marked.labels[marked.minority].float().mean() == pytest.approx(0.6, abs=0.08)
    assert marked.labels[~marked.minority].float().mean() == pytest.approx(0.1, abs=0.05)
    sharpness = (marked.images[:, :, 1:].float() - marked.images[:, :, :-1].float()).abs().amax((1, 2, 3))
    assert sharpness[marked.minority].median() < 0.6 * sharpness[~marked.minority].median()


def test_no_picture_has_more_conditions_than_garments_and_each_garment_is_of_its_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[torch.Tensor] = []
    monkeypatch.setattr(
        "benchmarks.paper.offline.composed.render", lambda pixels, scene: shown.append(scene.garments) or pixels
    )
    ward = Ward(["boot", "bag", "coat", "shirt"], ["trouser", "sandal"], lying=0.4, chances=(0.7, 0.7))
    labels = composed(ward, Part("val", 0, 5), 200, seed=0).labels
    assert labels.sum(1).max() == 3
    kinds = shown[0] // 5  # five photographs of each, conditions first
    assert torch.equal(torch.stack([(kinds == condition).sum(1) for condition in range(4)], dim=1), labels)


def test_a_condition_is_a_binary_problem_cut_at_its_threshold() -> None:
    marked = Marked(torch.zeros(4), torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]]), torch.zeros(4), torch.zeros(4) > 1)
    judged = Judged.of(Seen(marked, torch.zeros(4), np.zeros((4, 2))), 0, np.array([0.1, 0.3, 0.2, 0.4]), 0.3)
    assert judged.correct.tolist() == [True, True, False, False]
    assert judged.f1 == pytest.approx(0.5)
    assert judged.examples.labels.tolist() == [0, 1, 1, 0]
    assert judged.examples.probabilities[2].tolist() == [0.8, 0.2]
