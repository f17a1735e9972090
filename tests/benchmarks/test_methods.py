"""Every method finds a slice that is easy to find, and the lot does not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from benchmarks.discovery.metric import precision_at
from benchmarks.discovery.planting import Geometry, Planted, Samples, Setting, plant
from benchmarks.slices.contenders import Contender, contenders, measure, warm_up
from benchmarks.slices.methods import Method, confidence, directions, domino, random, spotlight

EASY = Setting("rare", 0.15, separation=8.0, samples=3000, geometry=Geometry(d=32, subclasses=2, distractors=2))


@pytest.fixture(scope="module")
def easy() -> Planted:
    """A slice far from everything, in which every score is wrong and outside of which every one is right."""
    planted = plant(EASY)

    def decided(half: Samples, inside: np.ndarray) -> Samples:
        return replace(half, scores=np.where((half.labels == 1) ^ inside, 0.9, 0.1))

    # the validation half does not carry its slices: there the model fails where the held-out slice's centre is near
    centre = planted.held_out.x[planted.truth[:, 0]].mean(axis=0)
    near = planted.held_out.x @ centre
    threshold = (near[planted.truth[:, 0]].mean() + near[~planted.truth[:, 0]].max()) / 2
    return Planted(
        decided(planted.validation, planted.validation.x @ centre > threshold),
        decided(planted.held_out, planted.truth[:, 0]),
        planted.truth,
        planted.validation_truth,
    )


METHODS: dict[str, tuple[Method, int]] = {
    "fdgpu": (directions, 2),
    "fdgpu, not whitened": (partial(directions, whiten=False), 2),
    "confidence": (confidence, 2),
    "Domino": (partial(domino, components=8, dimensions=16), 8),
    "Spotlight": (partial(spotlight, spotlights=1, steps=150, share=0.05), 1),
}


@pytest.mark.parametrize("name", METHODS)
def test_finds_an_obvious_slice(easy: Planted, name: str) -> None:
    method, count = METHODS[name]
    proposals = method(easy.validation, easy.held_out)
    assert proposals.shape[0] == len(easy.truth)
    assert 1 <= proposals.shape[1] <= count
    assert precision_at(10, proposals, easy.truth)[0] >= 0.9
    assert precision_at(25, proposals, easy.truth)[0] >= 0.9


def test_lot_finds_what_its_number_of_chances_allows(easy: Planted) -> None:
    proposals = random(easy.validation, easy.held_out, proposals=25)
    assert proposals.shape == (len(easy.truth), 25)
    assert precision_at(25, proposals, easy.truth)[0] < 0.6
    assert precision_at(1, proposals, easy.truth)[0] == 1.0  # one of 25 hits a slice of 15 %


@pytest.mark.parametrize("method", [directions, confidence], ids=["fdgpu", "confidence"])
def test_a_proposal_of_one_label_shows_no_other(easy: Planted, method: Method) -> None:
    for column in method(easy.validation, easy.held_out).T:
        shown = column > -np.inf
        assert len(np.unique(easy.held_out.labels[shown])) == 1


def test_a_label_without_errors_is_not_proposed(easy: Planted) -> None:
    """Label 0 has no errors here, so fdgpu has one direction to show."""
    assert directions(easy.validation, easy.held_out).shape[1] == 1


def test_lines_of_one_fit_count_as_many_proposals_as_they_say(easy: Planted) -> None:
    few = Contender(partial(random, proposals=12), {"three": 3, "all": None})
    first, second = measure(few, EASY, easy)
    assert (first.method, first.proposals, second.proposals) == ("three", 3, 12)
    assert first.precision_10 <= second.precision_10
    assert first.seconds == second.seconds


def test_everyone_takes_part_and_warms_up() -> None:
    lines = [name for contender in contenders() for name in contender.lines]
    assert len(set(lines)) == len(lines)
    assert "fdgpu, 3 directions" in [name for contender in contenders(3) for name in contender.lines]
    warm_up(contenders()[:3])  # the ones that take no time
