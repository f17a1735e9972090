"""SpotCheck's pictures show what their attributes say, blindspots contradict each other, and a network has them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.discovery import spotcheck
from benchmarks.discovery.spotcheck import COLOURS, SIDE, Design, design, picture, problems

PLAIN = dict.fromkeys(Design(("rectangle", "circle", "text"), ()).names, False)


def drawn(*layers: str, seed: int = 0, **attributes: bool) -> np.ndarray:
    given_ = {name.replace("_", " "): value for name, value in attributes.items()}
    return picture(PLAIN | given_, layers, np.random.default_rng(seed))


def coloured(image: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return (image == colour).all(axis=2)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_blindspots_have_four_to_six_attributes_and_contradict_each_other(seed: int) -> None:
    plan = design(np.random.default_rng(seed))
    assert 1 <= len(plan.layers) == len(set(plan.layers)) <= 3
    assert 1 <= len(plan.blindspots) <= 3
    for spot in plan.blindspots:
        assert spot["square there"]
        assert 4 <= len(spot) - 1 <= 6
        assert set(spot) <= set(plan.names)
        for name in spot:
            layer, _, look = name.partition(" ")
            assert look == "there" or layer in ("background", "square") or spot[f"{layer} there"]
    for one, other in combinations(plan.blindspots, 2):
        assert sum(one[name] != other[name] for name in one.keys() & other.keys()) >= 2
    pictures = plan.draw(200, 0.5, np.random.default_rng(seed))
    inside = plan.inside(pictures)
    assert not (inside.sum(axis=1) > 1).any()
    assert inside.mean(axis=0).min() > 0.5 / len(plan.blindspots) / 2
    coins = plan.draw(400, 0.0, np.random.default_rng(seed))
    assert all(0.35 < np.mean([one[name] for one in coins]) < 0.65 for name in plan.names)


@pytest.mark.parametrize(("shape", "large", "small"), [("square", 1600, 400), ("rectangle", 1500, 375)])
def test_shapes_have_their_sizes_and_colours(shape: str, large: int, small: int) -> None:
    layers = () if shape == "square" else (shape,)
    for size, pixels in ((False, large), (True, small)):
        for orange in (False, True):
            image = drawn(*layers, **{f"{shape}_there": True, f"{shape}_size": size, f"{shape}_colour": orange})
            assert coloured(image, COLOURS[orange]).sum() == pixels
            assert coloured(image, (255, 255, 255)).sum() == SIDE**2 - pixels
    striped = drawn(*layers, **{f"{shape}_there": True, f"{shape}_stripes": True})
    assert coloured(striped, (0, 0, 0)).sum() == coloured(striped, COLOURS[0]).sum() == large / 2


def test_circles_and_texts_are_there() -> None:
    assert coloured(drawn("circle", circle_there=True), COLOURS[0]).sum() == pytest.approx(np.pi * 20**2, rel=0.05)
    small, large = (
        coloured(drawn("text", text_there=True, text_size=size), COLOURS[0]).sum() for size in (False, True)
    )
    assert 50 < small < large / 2


@pytest.mark.parametrize("above", [True, False])
def test_squares_lie_above_or_below_the_centre_and_apart(above: bool) -> None:
    for seed in range(20):
        image = drawn("circle", seed=seed, square_there=True, square_two=True, square_above=above, circle_there=True,
                      circle_colour=True)  # fmt: skip
        squares = coloured(image, COLOURS[0])
        assert squares.sum() == 2 * 1600
        half = slice(SIDE // 2, None) if above else slice(None, SIDE // 2)
        assert not squares[half].any()
        grown = np.any([np.roll(squares, (i, j), (0, 1)) for i in (-4, 0, 4) for j in (-4, 0, 4)], axis=0)
        assert not (grown & coloured(image, COLOURS[1])).any()


def test_backgrounds_have_their_greys_and_dropout() -> None:
    assert (drawn() == 255).all()
    grey = drawn(background_grey=True, background_dropout=True)
    assert set(np.unique(grey)) == {100, 200}
    assert (grey == 100).mean() == pytest.approx(0.1, abs=0.01)


def test_a_network_fails_in_its_blindspots_and_the_problem_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spotcheck, "RECIPE", replace(spotcheck.RECIPE, epochs=2, peak_epoch=1, batch=16))
    monkeypatch.setattr(spotcheck, "WIDTHS", ((8, 4), (16, 2)))
    plan = Design(("circle",), ({"square there": True, "square colour": True, "background grey": True},))
    monkeypatch.setattr(spotcheck, "design", lambda _: plan)
    (problem,) = problems(3, 300, 120)
    (again,) = problems(3, 300, 120, rivals=False)
    assert (problem.setting, problem.part, problem.seed) == ("spotcheck", "1 blindspots", 3)
    assert problem.val.x.shape == problem.test.x.shape == problem.reference.shape == (60, 32)
    np.testing.assert_array_equal(problem.val.x, again.val.x)
    np.testing.assert_array_equal(problem.test.probabilities, again.test.probabilities)
    assert set(problem.trained) == {"early-stopped confidence", "Learning from Failure"}
    assert again.trained == {}
    inside, square = problem.truth[:, 0], problem.test.labels == 1
    assert square[inside].all()
    p = np.exp(-problem.test.loss)
    assert p[inside].mean() < p[square & ~inside].mean()
    assert 0.25 < inside.mean() < 0.6
